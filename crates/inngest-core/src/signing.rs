//! Signing keys and request signatures.
