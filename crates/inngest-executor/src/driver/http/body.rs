//! Reading a reply's body: never more than a reply may have, neither before nor after decoding.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// A body up to this size is decoded at once; a larger one might keep the runtime's thread too long.
const DECODE_INLINE_BYTES_MAX: usize = 1024;
/// Buffer of the brotli decoder.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The connection broke.
    Broken(hyper::Error),
    /// More than so many bytes, before or after decoding.
    TooLarge(usize),
    /// `content-encoding` is unknown, or the body is not encoded that way.
    Encoding(String),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => error.fmt(f),
            Self::TooLarge(max) => write!(f, "the reply is larger than {max} bytes"),
            Self::Encoding(problem) => f.write_str(problem),
        }
    }
}

/// Reads the whole body and decodes it.
pub(super) async fn read(headers: &HeaderMap, body: Incoming, max: usize) -> Result<Bytes, BodyError> {
    let encoded = collect(body, max).await?;
    let Some(decoder) = Decoder::of(headers)? else { return Ok(encoded) };
    if encoded.len() <= DECODE_INLINE_BYTES_MAX {
        return decoder.decode(&encoded, max);
    }
    let decoded = tokio::task::spawn_blocking(move || decoder.decode(&encoded, max)).await;
    decoded.unwrap_or_else(|_| Err(BodyError::Encoding("error decoding the response".to_owned())))
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, BodyError> {
    let expected = body.size_hint().lower();
    if expected > max as u64 {
        return Err(BodyError::TooLarge(max));
    }
    // Most replies come in one piece, which need not be copied.
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    let Some(second) = next(&mut body).await? else { return within_limit(first, max) };
    let mut whole = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0).max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while whole.len() <= max {
        let Some(piece) = next(&mut body).await? else { return Ok(whole.freeze()) };
        whole.extend_from_slice(&piece);
    }
    Err(BodyError::TooLarge(max))
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn within_limit(body: Bytes, max: usize) -> Result<Bytes, BodyError> {
    if body.len() > max { Err(BodyError::TooLarge(max)) } else { Ok(body) }
}

#[derive(Clone, Copy, Debug)]
enum Decoder {
    Gzip,
    Brotli,
}

impl Decoder {
    /// The decoder a reply needs; several encodings on top of each other are not supported.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, BodyError> {
        let mut all = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(encoding) = all.next() else { return Ok(None) };
        let unsupported = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            BodyError::Encoding(format!("unsupported content encoding: \"{name}\""))
        };
        if all.next().is_some() {
            let all: Vec<_> = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.as_bytes()).collect();
            return Err(unsupported(&all.join(&b", "[..])));
        }
        match encoding.as_bytes().to_ascii_lowercase().trim_ascii() {
            b"" | b"identity" => Ok(None),
            b"gzip" | b"x-gzip" => Ok(Some(Self::Gzip)),
            b"br" => Ok(Some(Self::Brotli)),
            _ => Err(unsupported(encoding.as_bytes())),
        }
    }

    fn decode(self, encoded: &[u8], max: usize) -> Result<Bytes, BodyError> {
        // An empty body has nothing to decode; proxies send these with the header left in place.
        if encoded.is_empty() {
            return Ok(Bytes::new());
        }
        let (name, decoded) = match self {
            Self::Gzip => ("gzip", read_capped(MultiGzDecoder::new(encoded), max)),
            Self::Brotli => ("br", read_capped(brotli::Decompressor::new(encoded, BROTLI_BUFFER_BYTES), max)),
        };
        let decoded =
            decoded.map_err(|error| BodyError::Encoding(format!("error decoding {name} response: {error}")))?;
        within_limit(decoded, max)
    }
}

/// Stops one byte over the limit, so that a small body cannot become a huge one.
fn read_capped(decoder: impl Read, max: usize) -> std::io::Result<Bytes> {
    let mut decoded = Vec::new();
    decoder.take(max as u64 + 1).read_to_end(&mut decoded)?;
    Ok(decoded.into())
}
