//! End-to-end compatibility on a real server process: `cargo test --test integration_test`.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which lints do not know as such")]

#[path = "integration/batch.rs"]
mod batch;
#[path = "integration/bulk.rs"]
mod bulk;
#[path = "integration/cancels.rs"]
mod cancels;
#[path = "integration/causes.rs"]
mod causes;
#[path = "integration/checkpoints.rs"]
mod checkpoints;
#[path = "integration/concurrency.rs"]
mod concurrency;
#[path = "integration/contracts.rs"]
mod contracts;
#[path = "integration/cron.rs"]
mod cron;
#[path = "integration/debounce.rs"]
mod debounce;
#[path = "integration/defers.rs"]
mod defers;
#[path = "integration/ends.rs"]
mod ends;
#[path = "integration/explain.rs"]
mod explain;
#[path = "integration/failures.rs"]
mod failures;
#[path = "integration/graphql.rs"]
mod graphql;
#[path = "integration/harness.rs"]
mod harness;
#[path = "integration/holds.rs"]
mod holds;
#[path = "integration/in_time.rs"]
mod in_time;
#[path = "integration/interactions.rs"]
mod interactions;
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
#[path = "integration/priority.rs"]
mod priority;
#[path = "integration/rate_limit.rs"]
mod rate_limit;
#[path = "integration/replies.rs"]
mod replies;
#[path = "integration/rest.rs"]
mod rest;
#[path = "integration/restarts.rs"]
mod restarts;
#[path = "integration/resync.rs"]
mod resync;
#[path = "integration/retries.rs"]
mod retries;
#[path = "integration/routing.rs"]
mod routing;
#[path = "integration/server_limits.rs"]
mod server_limits;
#[path = "integration/singleton.rs"]
mod singleton;
#[path = "integration/steps.rs"]
mod steps;
#[path = "integration/throttle.rs"]
mod throttle;
#[path = "integration/traces.rs"]
mod traces;
#[path = "integration/v1_contracts.rs"]
mod v1_contracts;
#[path = "integration/v1_openapi.rs"]
mod v1_openapi;
#[path = "integration/v1_surface.rs"]
mod v1_surface;
#[path = "integration/v1_test_mode.rs"]
mod v1_test_mode;
#[path = "integration/v2.rs"]
mod v2;
#[path = "integration/waits.rs"]
mod waits;
