//! Latency samples and their percentiles.
//!
//! Every sample is kept: a measured window holds at most a few million, which is cheaper to store than to argue about
//! bucket errors, and percentiles are then exact.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Samples of one kind of latency within one measured window.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    nanos: Vec<u64>,
}

/// Percentiles of a window, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: usize,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Samples {
    pub(crate) fn record(&mut self, sample: Duration) {
        self.nanos.push(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
    }

    /// `None` when nothing was recorded, so that a report never shows a made-up zero.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        if self.nanos.is_empty() {
            return None;
        }
        self.nanos.sort_unstable();
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let total: f64 = self.nanos.iter().map(|nanos| *nanos as f64).sum();
        Some(Percentiles {
            count: self.nanos.len(),
            mean: total / self.nanos.len() as f64 / 1e6,
            p50: millis(self.at(50)),
            p90: millis(self.at(90)),
            p99: millis(self.at(99)),
            max: millis(self.at(100)),
        })
    }

    /// Nearest rank: the smallest sample that at least `percent` of all samples do not exceed.
    fn at(&self, percent: usize) -> u64 {
        let rank = (self.nanos.len() * percent).div_ceil(100).max(1);
        self.nanos[rank - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(millis: impl IntoIterator<Item = u64>) -> Option<Percentiles> {
        let mut samples = Samples::default();
        millis.into_iter().for_each(|sample| samples.record(Duration::from_millis(sample)));
        samples.percentiles()
    }

    #[test]
    fn nearest_rank() {
        assert_eq!(percentiles([]), None);
        let one = Percentiles { count: 1, mean: 7.0, p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 };
        assert_eq!(percentiles([7]), Some(one));
        let hundred = Percentiles { count: 100, mean: 50.5, p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 };
        assert_eq!(percentiles((1..=100).rev()), Some(hundred));
        let four = Percentiles { count: 4, mean: 2.5, p50: 2.0, p90: 4.0, p99: 4.0, max: 4.0 };
        assert_eq!(percentiles([4, 1, 3, 2]), Some(four));
    }
}
