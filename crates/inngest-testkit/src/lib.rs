//! Test equipment: [`stub`] is an app that speaks the SDK protocol and can misbehave on demand, [`server`] is
//! the real binary as a process, [`client`] talks to it, [`crash`] kills it under load and checks that
//! nothing was lost.

pub mod client;
pub mod crash;
pub mod server;
pub mod stub;

pub use client::Client;
pub use server::Server;
pub use stub::{Answer, Call, StubApp, StubFunction};

use std::time::Duration;

/// Polls `condition` until it holds; fails with `what` when it does not within `limit`.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        anyhow::ensure!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
