//! Writes the generated pages of `docs/reference` anew.

use std::io::Write as _;

use warren_test::reference::{self, Page};

fn pages() -> anyhow::Result<Vec<Page>> {
    let mut pages = reference::pages()?;
    pages.extend(reference::binary::pages()?);
    Ok(pages)
}

fn main() -> anyhow::Result<()> {
    for page in pages()? {
        let path = warren_test::tree::root().join(page.path);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(page.text.as_str()) {
            std::fs::write(&path, &page.text)?;
            writeln!(std::io::stdout(), "wrote {}", page.path)?;
        }
    }
    Ok(())
}
