//! The end-to-end and tidy tests, one binary.
