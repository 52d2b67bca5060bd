//! Sessions: that a client has said who it is. Nothing else is remembered of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use inngest_core::Millis;

/// Sessions at a time; one more takes the place of the one that was silent longest, whose client begins anew.
const SESSIONS_MAX: usize = 10_000;

/// A session that is silent longer is forgotten.
const IDLE_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// When each session was heard of last.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Millis>>);

impl Sessions {
    pub(super) fn open(&self, id: String, now: Millis) {
        let mut all = self.all();
        if all.len() >= SESSIONS_MAX {
            all.retain(|_, heard| is_alive(*heard, now));
        }
        if all.len() >= SESSIONS_MAX
            && let Some(oldest) = all.iter().min_by_key(|(_, heard)| **heard).map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(id, now);
    }

    /// Whether there is such a session, which is heard of now.
    pub(super) fn touch(&self, id: &str, now: Millis) -> bool {
        let mut all = self.all();
        let Some(heard) = all.get_mut(id) else { return false };
        if !is_alive(*heard, now) {
            all.remove(id);
            return false;
        }
        *heard = now;
        true
    }

    pub(super) fn close(&self, id: &str) {
        self.all().remove(id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Millis>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_alive(heard: Millis, now: Millis) -> bool {
    now.0 - heard.0 <= IDLE_MS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_until_it_is_closed_or_silent_for_long() {
        let sessions = Sessions::default();
        for id in ["a", "b"] {
            sessions.open(id.to_owned(), Millis(0));
        }
        assert!(sessions.touch("a", Millis(IDLE_MS_MAX)) && sessions.touch("a", Millis(2 * IDLE_MS_MAX)));
        assert!(!sessions.touch("b", Millis(IDLE_MS_MAX + 1)) && !sessions.touch("c", Millis(0)));
        sessions.close("a");
        assert!(!sessions.touch("a", Millis(0)));
    }

    #[test]
    fn there_are_no_more_than_may_be() {
        let sessions = Sessions::default();
        let open = |n: usize, at: i64| sessions.open(n.to_string(), Millis(at));
        (0..SESSIONS_MAX).for_each(|n| open(n, 10));
        assert!(sessions.touch("0", Millis(11)));
        sessions.open("first".to_owned(), Millis(12));
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
        assert!(sessions.touch("0", Millis(12)), "one that was silent longer went");
        sessions.open("next day".to_owned(), Millis(13 + IDLE_MS_MAX));
        assert_eq!(sessions.all().len(), 1);
    }
}
