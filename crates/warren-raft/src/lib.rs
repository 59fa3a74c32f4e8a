//! warren-raft.
