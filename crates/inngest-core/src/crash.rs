//! Named points at which a test can make the process die as if by `kill -9`.
//!
//! `INNGEST_CRASH_AT=<point>:<n>` aborts the process when the point is passed for the n-th time: no
//! destructors, no flush. Without the variable a point costs one load.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that arms a point.
pub const VARIABLE: &str = "INNGEST_CRASH_AT";

/// Every point there is, in the order in which a run passes them.
pub const POINTS: [&str; 5] =
    ["store.before_commit", "store.after_commit", "engine.before_call", "engine.after_reply", "engine.after_settle"];

struct Armed {
    point: String,
    left: AtomicU64,
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let text = std::env::var(VARIABLE).ok()?;
    let (point, times) = text.split_once(':')?;
    Some(Armed { point: point.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
});

/// Passes a point.
#[inline]
pub fn point(name: &str) {
    if let Some(armed) = &*ARMED
        && armed.point == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
