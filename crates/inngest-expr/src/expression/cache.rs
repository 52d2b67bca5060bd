//! Expressions that were compiled before.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::{CompileError, Expression, Roots};

type Compiled = LruCache<(Roots, Box<str>), Arc<Expression>>;

/// A bounded cache of compiled expressions; those that were used longest ago go first. Texts that do not compile
/// are not kept.
pub struct Cache {
    compiled: Mutex<Compiled>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    /// A cache of at most `max` expressions, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        Self { compiled: Mutex::new(LruCache::new(max)) }
    }

    /// As [`Expression::compile`].
    pub fn compile(&self, text: &str, roots: Roots) -> Result<Arc<Expression>, CompileError> {
        let key = (roots, Box::from(text));
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Ok(Arc::clone(known));
        }
        let expression = Arc::new(Expression::compile(text, roots)?);
        lock().put(key, Arc::clone(&expression));
        Ok(expression)
    }
}
