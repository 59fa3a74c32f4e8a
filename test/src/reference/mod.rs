//! The pages of `docs/reference` that are written from the code, so that they cannot disagree with it.
//!
//! `cargo run -p warren-test --bin reference` writes them; a tidy test compares them.

mod api;
pub mod binary;
pub mod metrics;
pub mod requirements;

/// One generated page.
pub struct Page {
    /// Relative to the root of the tree.
    pub path: &'static str,
    /// What the file must hold, to the byte.
    pub text: String,
}

/// Every page that the libraries tell, made anew; [`binary::pages`] has the others.
///
/// # Errors
/// Where a source of a page cannot be read or does not make sense; the message names it.
pub fn pages() -> anyhow::Result<Vec<Page>> {
    Ok(vec![api::page()?, metrics::page(), requirements::page()?])
}
