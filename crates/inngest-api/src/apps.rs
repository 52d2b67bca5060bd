//! What the API asks of whoever keeps apps in sync.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};

/// Syncs that wait to be begun; who asks for more waits.
const REQUESTS_MAX: usize = 64;

/// Asks for syncs of apps, and knows where apps were found. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Apps {
    requests: mpsc::Sender<SyncRequest>,
    discovered: Arc<RwLock<HashSet<String>>>,
}

/// Somebody wants an app to be synced now.
#[derive(Debug)]
pub struct SyncRequest {
    /// Normalised URL of the app.
    pub url: String,
    /// To be told what came of it: nothing, or the code or text of what stands in the way.
    pub done: oneshot::Sender<Result<(), String>>,
}

impl Apps {
    /// The handle, and what comes in through it.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<SyncRequest>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { requests, discovered: Arc::default() }, receiver)
    }

    /// Syncs the app at this URL; the error is the code or text of what stands in the way.
    pub async fn sync(&self, url: &str) -> Result<(), String> {
        let (done, outcome) = oneshot::channel();
        let stopping = || "this server does not sync apps now".to_owned();
        self.requests.send(SyncRequest { url: url.to_owned(), done }).await.map_err(|_| stopping())?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Remembers that an app was found by looking for it.
    pub fn discovered(&self, url: &str) {
        let mut discovered = self.discovered.write().unwrap_or_else(PoisonError::into_inner);
        discovered.insert(url.to_owned());
    }

    /// Whether the app at this URL was found by looking for it.
    #[must_use]
    pub fn is_discovered(&self, url: &str) -> bool {
        self.discovered.read().unwrap_or_else(PoisonError::into_inner).contains(url)
    }
}
