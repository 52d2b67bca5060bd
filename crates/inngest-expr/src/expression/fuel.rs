//! What one evaluation may cost.

use std::cell::Cell;

use super::EvalError;

/// Units of work of one evaluation: each operator, function, item that is looked at and [16 bytes](BYTES_PER_UNIT)
/// that are read or written is one. An event has at most 3 MiB, so that conditions people write need a fraction, while
/// loops in loops over the largest list end within a tenth of a second or so. All that an evaluation makes is paid
/// for too, so that this bounds its memory: 16 MiB of text, or a million items.
pub const UNITS_MAX: usize = 1_000_000;

/// Texts and bytes are read and copied that quickly.
const BYTES_PER_UNIT: usize = 16;

/// There are no units left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl From<Spent> for EvalError {
    fn from(_: Spent) -> Self {
        Self::TooCostly
    }
}

/// Units that are left.
pub(super) struct Fuel(Cell<Option<usize>>);

impl Fuel {
    pub(super) const fn full() -> Self {
        Self(Cell::new(Some(UNITS_MAX)))
    }

    /// From now on as much as another one has.
    pub(super) fn set_to(&self, other: &Self) {
        self.0.set(other.0.get());
    }

    /// Takes so many units. Once some were not there, none ever are: what goes on then stops at the next step, and
    /// no operator can make a result of what it was refused.
    pub(super) fn take(&self, units: usize) -> Result<(), Spent> {
        let left = self.0.get().and_then(|left| left.checked_sub(units));
        self.0.set(left);
        left.map(drop).ok_or(Spent)
    }

    /// Takes what it costs to read or write so many bytes.
    pub(super) fn bytes(&self, count: usize) -> Result<(), Spent> {
        self.take(count / BYTES_PER_UNIT)
    }

    pub(super) const fn is_spent(&self) -> bool {
        self.0.get().is_none()
    }
}
