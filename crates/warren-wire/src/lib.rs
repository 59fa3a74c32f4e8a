//! The words on the wire: messages and their meaning in the model, status codes, channels.
//!
//! # What wire must not know
//! Raft, Docker, who leads, which role a process has.

pub mod backup;
pub mod channel;
pub mod convert;
mod json;
#[cfg(test)]
mod numbers;
pub mod status;
pub mod trust;
pub mod view;

/// The messages and services of `proto/warren/v1`, generated.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::pedantic,
        clippy::unwrap_used,
        clippy::missing_errors_doc,
        clippy::large_futures,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the proto files carry the documentation"
    )]
    tonic::include_proto!("warren.v1");

    /// The file descriptors, for reflection and for the API reference.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/warren.fds"));
}
