//! Since when somebody is there to fire schedules.
//!
//! A time is missed only if nobody was: the server was down, the machine slept, its clock was set forward, or the
//! store took nothing. While somebody is there, a time that fires late, because there is much to do, is merely late.

use std::time::Duration;

use inngest_core::Millis;

/// Who wakes up so much later than intended was away, and who is away no longer has missed nothing.
pub(super) const AWAY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Presence {
    since: Millis,
    expected: Millis,
}

impl Presence {
    pub(super) fn begin(now: Millis) -> Self {
        Self { since: now, expected: now }
    }

    /// Wakes up. What should have fired before the returned time may have been missed.
    pub(super) fn wake(&mut self, now: Millis) -> Millis {
        if now.since(self.expected) > AWAY {
            self.since = now;
        }
        self.since
    }

    /// Sleeps for so long.
    pub(super) fn sleep(&mut self, now: Millis, wait: Duration) {
        self.expected = now.plus(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wakes_up_late_was_away() {
        let mut presence = Presence::begin(Millis(100_000));
        assert_eq!(presence.wake(Millis(100_000)), Millis(100_000));
        presence.sleep(Millis(130_000), Duration::from_secs(60)); // Much was done in between.
        assert_eq!(presence.wake(Millis(190_000)), Millis(100_000), "there all the time");
        presence.sleep(Millis(190_000), Duration::from_secs(60));
        assert_eq!(presence.wake(Millis(200_000)), Millis(100_000), "woken early");
        assert_eq!(presence.wake(Millis(900_000)), Millis(900_000), "the machine slept");
        presence.sleep(Millis(900_000), Duration::from_secs(60));
        assert_eq!(presence.wake(Millis(10_000)), Millis(900_000), "the clock was set back");
    }
}
