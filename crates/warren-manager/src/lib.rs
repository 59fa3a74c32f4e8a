//! warren-manager.
