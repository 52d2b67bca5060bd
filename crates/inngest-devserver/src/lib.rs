//! devserver
