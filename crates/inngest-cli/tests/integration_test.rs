//! End-to-end compatibility on a real server process: `cargo test --test integration_test`.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which lints do not know as such")]

#[path = "integration/bulk.rs"]
mod bulk;
#[path = "integration/cancels.rs"]
mod cancels;
#[path = "integration/checkpoints.rs"]
mod checkpoints;
#[path = "integration/cron.rs"]
mod cron;
#[path = "integration/defers.rs"]
mod defers;
#[path = "integration/ends.rs"]
mod ends;
#[path = "integration/failures.rs"]
mod failures;
#[path = "integration/harness.rs"]
mod harness;
#[path = "integration/in_time.rs"]
mod in_time;
#[path = "integration/large.rs"]
mod large;
#[path = "integration/lifecycle.rs"]
mod lifecycle;
#[path = "integration/matching.rs"]
mod matching;
#[path = "integration/operations.rs"]
mod operations;
#[path = "integration/parallel.rs"]
mod parallel;
#[path = "integration/replies.rs"]
mod replies;
#[path = "integration/rest.rs"]
mod rest;
#[path = "integration/resync.rs"]
mod resync;
#[path = "integration/retries.rs"]
mod retries;
#[path = "integration/routing.rs"]
mod routing;
#[path = "integration/steps.rs"]
mod steps;
#[path = "integration/waits.rs"]
mod waits;
