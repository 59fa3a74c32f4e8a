//! `make example`: what the README's tour runs.

use std::io::Write as _;

use warren_test::{example, tree};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for path in example::programs(&tree::root().join("target/example"))? {
        writeln!(out, "{}", path.display())?;
    }
    let images = example::images().await?;
    if images.is_empty() {
        writeln!(out, "No Docker engine answers: there are no images, use the programs.")?;
    } else {
        writeln!(out, "images {}; `docker rmi` takes them away", images.join(", "))?;
    }
    Ok(())
}
