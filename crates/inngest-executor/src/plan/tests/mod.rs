//! Whole runs, driven by scripted apps against a small model of the store.

mod checkpoints;
mod ends;
mod failures;
mod limits;
mod model;
mod notes;
mod orders;
mod parallel;
mod sequential;
mod sleeps;
mod traces;
mod waits;
