//! Randomness as a parameter.

use rand::RngCore;

/// Where random bits come from. Production uses [`SystemEntropy`]; tests bring a seeded one.
pub trait Entropy: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The thread's cryptographically secure generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}
