//! The generic cell rate algorithm: a limit in time whose whole state is one number.
//!
//! The number is the theoretical arrival time (TAT): when the next one would come if all came evenly. One that comes
//! earlier than that by no more than the tolerance is allowed. Times are nanoseconds since 1970.

use std::time::Duration;

/// How many in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one to the next when they come evenly.
    emission: i64,
    /// Nanoseconds by which one may be early: how many may come at once.
    tolerance: i64,
}

impl Rate {
    /// `limit` in `period` that are refused beyond it: a tenth of them may come at once, and one.
    #[must_use]
    pub fn lossy(limit: u32, period: Duration) -> Self {
        Self::new(limit, period, u64::from(limit.max(1) / 10))
    }

    /// `limit` in `period` that wait beyond it: all of them may come at once, and `burst` more.
    #[must_use]
    pub fn lossless(limit: u32, period: Duration, burst: u32) -> Self {
        Self::new(limit, period, u64::from(limit.max(1)) + u64::from(burst) - 1)
    }

    /// `early` more than one may come at once. A limit of 0 is one of 1.
    fn new(limit: u32, period: Duration, early: u64) -> Self {
        let emission = (period.as_nanos() / u128::from(limit.max(1))).max(1);
        let nanos = |number: u128| i64::try_from(number).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        Self { emission: nanos(emission), tolerance: nanos(emission.saturating_mul(u128::from(early))) }
    }

    /// The TAT once one more has come, or when it may come.
    pub fn take(self, tat: i64, now: i64) -> Result<i64, i64> {
        let at = tat.max(now);
        if at - now <= self.tolerance { Ok(at.saturating_add(self.emission)) } else { Err(at - self.tolerance) }
    }

    /// Nanoseconds by which one may be early.
    pub(crate) const fn tolerance(self) -> i64 {
        self.tolerance
    }

    /// Nanoseconds from one to the next when they come evenly.
    #[must_use]
    pub const fn emission(self) -> i64 {
        self.emission
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at_once(rate: Rate) -> usize {
        let mut tat = 0;
        (0..100).filter(|_| rate.take(tat, SECOND).map(|next| tat = next).is_ok()).count()
    }

    #[test]
    fn a_tenth_and_one_are_admitted_at_once_by_a_lossy_limit() {
        let minute = Duration::from_secs(60);
        for (limit, expected) in [(1, 1), (5, 1), (10, 2), (25, 3), (99, 10)] {
            assert_eq!(at_once(Rate::lossy(limit, minute)), expected, "{limit}");
        }
    }

    #[test]
    fn limit_and_burst_are_admitted_at_once_by_a_lossless_limit() {
        for (limit, burst, expected) in [(1, 0, 1), (1, 1, 2), (1, 3, 4), (3, 0, 3), (0, 0, 1)] {
            assert_eq!(at_once(Rate::lossless(limit, Duration::from_secs(6), burst)), expected, "{limit} {burst}");
        }
    }

    #[test]
    fn then_one_comes_after_each_emission_exactly() {
        let rate = Rate::lossless(3, Duration::from_secs(6), 0);
        let (mut tat, mut now, mut starts) = (0, 0, Vec::new());
        while starts.len() < 6 {
            match rate.take(tat, now) {
                Ok(next) => {
                    tat = next;
                    starts.push(now / SECOND);
                }
                Err(at) => {
                    assert!(at > now && rate.take(tat, at - 1).is_err() && rate.take(tat, at).is_ok());
                    now = at;
                }
            }
        }
        assert_eq!(starts, [0, 0, 0, 2, 4, 6]);
    }

    #[test]
    fn odd_sizes_are_bounded() {
        let rate = Rate::lossless(u32::MAX, Duration::MAX, u32::MAX);
        assert!(rate.take(i64::MAX, 0).is_err() && rate.take(0, 0).is_ok());
        assert_eq!(Rate::lossy(u32::MAX, Duration::from_nanos(1)).emission(), 1);
    }
}
