//! Patterns of `matches`.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use lru::LruCache;
use regex::{Regex, RegexBuilder};

use super::EvalError;
use super::fuel::Fuel;

/// Longest pattern, in bytes.
const LENGTH_MAX: usize = 1_024;

/// Memory that a pattern may take once it is compiled, and what it then costs per byte of the text. A larger one does
/// not compile.
const SIZES: [(usize, usize); 4] = [(1 << 14, 1), (1 << 16, 4), (1 << 18, 16), (1 << 20, 64)];

/// A pattern that is part of the expression is compiled once. One that comes from an event costs this each time: were
/// it free when it happens to be known, an expression could hold now and fail later.
pub(super) const FROM_EVENT: usize = 1_000;

struct Pattern {
    regex: Regex,
    units_per_byte: usize,
}

/// Whether the pattern is found in the text.
pub(super) fn is_match(pattern: &str, text: &str, fuel: &Fuel) -> Result<bool, EvalError> {
    let pattern = compiled(pattern)?;
    fuel.take(text.len().saturating_mul(pattern.units_per_byte))?;
    Ok(pattern.regex.is_match(text))
}

fn compiled(pattern: &str) -> Result<Arc<Pattern>, EvalError> {
    type Compiled = LruCache<Box<str>, Arc<Pattern>>;
    const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
    static PATTERNS: LazyLock<Mutex<Compiled>> = LazyLock::new(|| Mutex::new(Compiled::new(KEPT)));
    if pattern.len() > LENGTH_MAX {
        return Err(EvalError::Other(format!("the pattern is longer than {LENGTH_MAX} bytes")));
    }
    let lock = || PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(pattern) {
        return Ok(Arc::clone(known));
    }
    let built = Arc::new(build(pattern)?);
    lock().put(pattern.into(), Arc::clone(&built));
    Ok(built)
}

fn build(pattern: &str) -> Result<Pattern, EvalError> {
    let mut outcome = Err(regex::Error::CompiledTooBig(0));
    for (size, units_per_byte) in SIZES {
        outcome = RegexBuilder::new(pattern).size_limit(size).build().map(|regex| Pattern { regex, units_per_byte });
        if !matches!(outcome, Err(regex::Error::CompiledTooBig(_))) {
            break;
        }
    }
    outcome.map_err(|error| EvalError::Other(format!("invalid pattern: {error}")))
}
