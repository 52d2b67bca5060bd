//! Why a field has no value.

use inngest_state::StoreError;

/// An error of a resolver. Its code stands in `extensions.code`.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    InvalidArgument(String),
    /// An expression of a search that does not compile.
    #[error("{0}")]
    Expression(String),
    /// What was asked for cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Problem {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::InvalidArgument(_) => "invalid_argument",
            Self::Expression(_) => "expression_invalid",
            Self::Conflict(_) => "conflict",
            Self::Store(_) => "internal_error",
        }
    }
}

/// The outcome of a resolver.
pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// The outcome of a field that is null when it fails, while the rest of the answer is not: errors of a plain [`Result`]
/// take away whatever they are in, up to the next field of this type.
pub(super) type Nullable<T> = Option<Result<T>>;

/// The outcome of a field that may be null.
pub(super) fn nullable<T>(outcome: Result<Option<T>>) -> Nullable<T> {
    outcome.transpose()
}
