//! The status of a run.

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RunStatus {
    /// The first call to the app was dispatched; also while sleeping, waiting or retrying.
    Running = 0,
    /// Returned a result.
    Completed = 1,
    /// Ended with an error.
    Failed = 2,
    /// Ended from outside.
    Cancelled = 3,
    /// Created, no call to the app yet.
    Scheduled = 5,
    /// Recorded, but never started.
    Skipped = 7,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Completed, Self::Failed, Self::Cancelled, Self::Scheduled, Self::Skipped];

    /// Whether the run is over for good.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// The spelling of REST v1 and of `_inngest.status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Scheduled => "Scheduled",
            Self::Skipped => "Skipped",
        }
    }

    /// The status of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == code)
    }
}
