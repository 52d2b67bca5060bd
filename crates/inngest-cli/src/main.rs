//! The `inngest` binary.
fn main() {}
