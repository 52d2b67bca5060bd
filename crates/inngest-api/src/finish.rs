//! Work that is done to its end.
//!
//! When a client goes away, hyper drops the future that makes its answer, wherever it waits. Much of what is asked of
//! this server must not stop there: runs that are cancelled or run again one by one, and between a commit and the queue
//! that hears of it there is a point at which a new run would wait for the next start of the server.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that goes on by itself when nobody waits for it any more.
pub(crate) struct Finish<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

/// Lets `work` go on to its end, whoever waits for it. As long as somebody does, it costs no task of its own.
pub(crate) fn finish<F: Future<Output: Send> + Send + 'static>(work: F) -> Finish<F> {
    Finish(Some(Box::pin(work)))
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let work = self.0.as_mut().expect("a future is not polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        // While it unwinds from a panic of the work, there is nothing to go on with.
        let Some(work) = self.0.take().filter(|_| !std::thread::panicking()) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let (go_on, wait) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut work = finish(async move {
            wait.await.unwrap();
            done.send(7).unwrap();
        });
        tokio::select! {
            biased;
            () = &mut work => panic!("it waits"),
            () = std::future::ready(()) => {}
        }
        drop(work);
        go_on.send(()).unwrap();
        assert_eq!(is_done.await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_ended_does_not_begin_again() {
        assert_eq!(finish(async { 7 }).await, 7);
    }
}
