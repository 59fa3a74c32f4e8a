//! warren-agent.
