//! Listening: HTTP/1.1 and cleartext HTTP/2 on every address, bounded, with a shutdown that drains.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Version;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::Handler;
use crate::finish::finish;
use crate::patience::{Patience, Requests};

/// Connections at a time; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 10_000;

/// A connection on which no request comes for so long is closed. Headers that have begun must end sooner ([`Patience`]).
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Headers of one request, in bytes; more are refused (431).
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Pause after an accept that failed, for example because no file descriptor was left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `shutdown` turns true, then closes idle connections, lets requests in progress finish within
/// `drain`, and returns.
pub async fn serve(listeners: Vec<TcpListener>, handler: Handler, shutdown: watch::Receiver<bool>, drain: Duration) {
    let mut accepting = JoinSet::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for listener in listeners {
        accepting.spawn(accept(listener, handler.clone(), Arc::clone(&places), shutdown.clone()));
    }
    while accepting.join_next().await.is_some() {}
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(drain, places.acquire_many(all)).await.is_err() {
        tracing::debug!("connections that did not finish in time are cut");
    }
}

async fn accept(listener: TcpListener, handler: Handler, places: Arc<Semaphore>, mut shutdown: watch::Receiver<bool>) {
    let stopping = shutdown.clone();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("places are never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stopped(&mut shutdown) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, handler.clone(), place, stopping.clone()));
            }
            Err(error) => {
                if !is_of_the_client(&error) {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

async fn connection(
    stream: TcpStream,
    handler: Handler,
    _place: OwnedSemaphorePermit,
    mut shutdown: watch::Receiver<bool>,
) {
    // Answers are small: they must not wait for acknowledgements.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let requests = Requests::default();
    let stream = Patience::new(stream, requests.clone());
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (handler, requests) = (handler.clone(), requests.clone());
        requests.begin();
        // The frames of HTTP/2 that come between requests are no headers.
        let is_one_at_a_time = request.version() != Version::HTTP_2;
        finish(async move {
            let response = handler.respond(request.map(Body::new)).await;
            if is_one_at_a_time {
                requests.end();
            }
            Ok::<_, Infallible>(response)
        })
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error = %error, "a connection ended early");
    }
}

/// Resolves when the server is to stop, also when nobody is left to say so.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    if let Err(_gone) = shutdown.wait_for(|stop| *stop).await {
        tracing::debug!("the server was dropped without being told to stop");
    }
}
