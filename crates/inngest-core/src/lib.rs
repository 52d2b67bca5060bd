//! The words everything else speaks.
//!
//! Ids, events, functions, limits, error codes, canonical JSON, request signing, and the
//! two traits through which time and randomness enter: [`Clock`] and [`Entropy`].
//! Nothing here knows a runtime, HTTP or SQL.

pub mod app;
pub mod canonical;
pub mod clock;
pub mod crash;
pub mod entropy;
pub mod event;
pub mod function;
pub mod id;
pub mod limits;
pub mod run;
pub mod sessions;
pub mod signing;

pub use app::App;
pub use clock::{Clock, Millis, SystemClock};
pub use entropy::{Entropy, SystemEntropy};
pub use event::Event;
pub use function::Function;
pub use id::{AppId, EventId, FunctionId, Ids, RequestId, RunId, StepId};
pub use run::RunStatus;

/// JSON text in canonical form ([`canonical`]): sorted keys, no white space.
///
/// Payloads stay opaque bytes from intake to delivery; requests to SDKs are put together
/// from them by concatenation.
pub type Payload = bytes::Bytes;
