//! Releases in a simulated cluster: random histories whose every step is checked, and scenarios as an operator types
//! and reads them.

#![expect(clippy::disallowed_methods, reason = "tests read their files and their settings")]
#![expect(clippy::print_stderr, reason = "tests say how much they did")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod histories;
mod history;
mod managers;
mod scenarios;
