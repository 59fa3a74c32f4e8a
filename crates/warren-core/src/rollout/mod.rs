//! How tasks of a service move from one revision to another.

pub(crate) mod rolling;
