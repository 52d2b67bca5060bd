//! The run engine.
//!
//! An event comes in ([`engine::Engine::accept`]), is matched against the [`registry`], and starts runs; the
//! queue hands out jobs, a driver ([`driver::Executor`]) calls the app, the reply ([`response`]) and the run's
//! state go through the pure [`plan`], and the transition it makes is committed. Nothing under `plan`,
//! `routing` and `response` reads a clock, draws random numbers or does IO.

pub mod ai;
pub mod apps;
mod config;
pub mod driver;
pub mod engine;
pub mod flow_control;
pub mod gateway;
pub mod plan;
pub mod registry;
pub mod request;
pub mod response;
pub mod routing;
pub mod rules;
pub mod spans;

pub use driver::{CallError, CallRequest, Executor};
pub use response::{FunctionError, Op, OpReport, Reply, SdkResponse};
