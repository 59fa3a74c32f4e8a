//! warren-dns.
