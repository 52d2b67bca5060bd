//! Request bodies: read within a limit, and decoded.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use inngest_core::{canonical, limits};

use crate::error::ApiError;

/// A sender that pauses longer in the middle of a body is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// 413.
    #[error("Request body is over the max size: Max {0} bytes")]
    TooLarge(usize),
    /// 415.
    #[error("unsupported content encoding: {0:?} (gzip, deflate, br and zstd are supported)")]
    UnknownEncoding(String),
    /// 400.
    #[error("Request body could not be decoded as {0}")]
    Undecodable(String),
    /// 408.
    #[error("Request body did not arrive in time")]
    TooSlow,
    /// 400: the connection broke.
    #[error("Request body is incomplete")]
    Incomplete,
}

impl BodyError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            Self::UnknownEncoding(_) => 415,
            Self::TooSlow => 408,
            Self::Undecodable(_) | Self::Incomplete => 400,
        }
    }
}

/// A body that is a JSON object. Left to itself, serde reads a list too, as the members in their order: `[]` would be a
/// request that leaves out everything.
pub(crate) fn object<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> serde_json::Result<T> {
    if !body.is_empty() && !body.trim_ascii_start().starts_with(b"{") {
        return Err(serde::de::Error::custom("invalid type: a JSON object is expected"));
    }
    serde_json::from_slice(body)
}

/// Reads and decodes a body of at most `max` bytes, counted after decoding.
pub(crate) async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, BodyError> {
    let raw = collect(body, max).await?;
    let encodings = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let codings: Vec<&str> = encodings.split(',').map(str::trim).filter(|coding| !coding.is_empty()).collect();
    if codings.iter().all(|coding| coding.eq_ignore_ascii_case("identity")) {
        return Ok(raw);
    }
    let [coding] = codings[..] else { return Err(BodyError::UnknownEncoding(encodings.to_owned())) };
    let coding = coding.to_ascii_lowercase();
    let decoding = tokio::task::spawn_blocking(move || decode(&coding, &raw, max));
    decoding.await.map_err(|_| BodyError::Incomplete)?
}

/// As [`read`], with the error that most routes answer with.
pub(crate) async fn read_whole(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, ApiError> {
    read(headers, body, max).await.map_err(|error| ApiError::new(error.status(), error.to_string()))
}

/// Takes a body that nobody looks at, so that its sender gets the answer.
pub(crate) async fn discard(mut body: Body) {
    let mut left = limits::REQUEST_BODY_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(IDLE_MAX, body.frame()).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

/// The canonical form of a JSON body, with its numbers as they are.
pub(crate) fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    canonical::canonicalise(body, canonical::Numbers::Exact).ok()
}

async fn collect(mut body: Body, max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    loop {
        let frame = tokio::time::timeout(IDLE_MAX, body.frame()).await.map_err(|_| BodyError::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
        if first.len() + all.as_ref().map_or(0, BytesMut::len) + data.len() > max {
            // Its sender reads the answer only when it has sent all.
            discard(body).await;
            return Err(BodyError::TooLarge(max));
        }
        // Most bodies are one frame, which needs no copy.
        if first.is_empty() && all.is_none() {
            first = data;
        } else {
            all.get_or_insert_with(|| BytesMut::from(&std::mem::take(&mut first)[..])).extend_from_slice(&data);
        }
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

fn decode(coding: &str, raw: &[u8], max: usize) -> Result<Bytes, BodyError> {
    let decoded = match coding {
        "gzip" | "x-gzip" => limited(flate2::read::MultiGzDecoder::new(raw), max),
        // Half of the senders mean zlib's frame by "deflate", the other half the bare stream.
        "deflate" => limited(flate2::read::ZlibDecoder::new(raw), max)
            .or_else(|error| limited(flate2::read::DeflateDecoder::new(raw), max).map_err(|_| error)),
        "br" => limited(brotli::Decompressor::new(raw, 4096), max),
        "zstd" => {
            zstd::stream::read::Decoder::new(raw).map_err(|_| Failure::Broken).and_then(|reader| limited(reader, max))
        }
        _ => return Err(BodyError::UnknownEncoding(coding.to_owned())),
    };
    decoded.map(Bytes::from).map_err(|failure| match failure {
        Failure::TooLarge => BodyError::TooLarge(max),
        Failure::Broken => BodyError::Undecodable(coding.to_owned()),
    })
}

enum Failure {
    TooLarge,
    Broken,
}

fn limited(reader: impl Read, max: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let room = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(room).read_to_end(&mut out).map_err(|_| Failure::Broken)?;
    if out.len() > max { Err(Failure::TooLarge) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn read_as(coding: &str, raw: Vec<u8>, max: usize) -> Result<Bytes, BodyError> {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())]);
        read(&headers, Body::from(raw), max).await
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn every_coding_is_decoded() {
        let text = b"{\"name\":\"a\"}".repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&text).unwrap();
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        bare.write_all(&text).unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 5, 22).write_all(&text).unwrap();
        let zstd = zstd::stream::encode_all(&text[..], 1).unwrap();
        let table = [
            ("gzip", gzip(&text)),
            ("GZIP", gzip(&text)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
            ("br", br),
            ("zstd", zstd),
            ("identity", text.clone()),
        ];
        for (coding, raw) in table {
            assert_eq!(read_as(coding, raw, 10_000).await.as_deref(), Ok(&text[..]), "{coding}");
        }
    }

    #[tokio::test]
    async fn bombs_unknown_codings_and_damage_are_refused() {
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(read_as("gzip", bomb, 1_000_000).await, Err(BodyError::TooLarge(1_000_000)));
        assert_eq!(read_as("lzma", vec![1], 10).await, Err(BodyError::UnknownEncoding("lzma".into())));
        assert_eq!(read_as("gzip, br", vec![1], 10).await, Err(BodyError::UnknownEncoding("gzip, br".into())));
        for coding in ["gzip", "deflate", "br", "zstd"] {
            assert_eq!(
                read_as(coding, b"no such data".to_vec(), 100).await,
                Err(BodyError::Undecodable(coding.into()))
            );
        }
        assert_eq!(read_as("identity", vec![0; 11], 10).await, Err(BodyError::TooLarge(10)));
    }
}
