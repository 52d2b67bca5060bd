//! Queries that are answered again whenever something has changed: GraphQL over SSE, one stream for each query.
//!
//! `POST` with `Accept: text/event-stream`. Each answer that differs from the one before comes as an event `next`; the
//! stream ends with the client, or with an event `complete` after an answer that will not get better.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::transport::{Prepared, Reply};
use crate::Api;

/// Streams at a time; more are refused (503).
pub(super) const STREAMS_MAX: usize = 200;
/// Shortest time from one answer to the next.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A sign of life when nothing changes.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a slow client; it gets the newest answer when it has read them.
const BACKLOG: usize = 2;

/// Places for streams. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// Whether the client wants to hear of changes.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
}

pub(super) fn respond(api: &Api, streams: &Streams, prepared: Prepared) -> Response<Body> {
    if !prepared.is_query() {
        return Reply::refused(400, "only queries can be followed as a stream".to_owned()).render();
    }
    let Ok(place) = Arc::clone(&streams.0).try_acquire_owned() else {
        return Reply::refused(503, format!("more than {STREAMS_MAX} streams are open; close some")).render();
    };
    let (send, receive) = mpsc::channel(BACKLOG);
    let changes = api.engine.changes();
    tokio::spawn(follow(api.clone(), prepared, changes, send, place));
    let mut response = Response::new(Body::new(StreamBody::new(frames(receive))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn frames(
    receive: mpsc::Receiver<Bytes>,
) -> impl async_graphql::futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    async_graphql::futures_util::stream::unfold(receive, async |mut receive| {
        let bytes = receive.recv().await?;
        Some((Ok(Frame::data(bytes)), receive))
    })
}

/// Answers again and again until the client is gone.
async fn follow(
    api: Api,
    prepared: Prepared,
    mut changes: watch::Receiver<u64>,
    send: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let mut last = String::new();
    loop {
        changes.mark_unchanged();
        let began = Instant::now();
        let reply = Box::pin(prepared.clone().execute(&api)).await;
        let json = reply.json();
        if json != last {
            if send.send(event("next", &json)).await.is_err() {
                return;
            }
            last = json;
        }
        // It was refused before anything was executed, and will be again.
        if reply.status() != 200 {
            let _gone_is_well = send.send(event("complete", "")).await;
            return;
        }
        tokio::select! {
            () = send.closed() => return,
            () = tokio::time::sleep_until(began + INTERVAL_MIN) => {}
        }
        loop {
            tokio::select! {
                () = send.closed() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    // The server stops.
                    Err(_) => return,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    if send.send(Bytes::from_static(b":\n\n")).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
