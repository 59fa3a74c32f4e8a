//! warren-drivers.
