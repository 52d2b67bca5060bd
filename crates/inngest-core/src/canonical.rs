//! Canonical JSON (RFC 8785), see [`canonicalise`].
