//! Removes what tests of this tree share or have left: images, and testbeds of tests that were killed. `make test` ends
//! with it.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    warren_test::testbed::sweep()?;
    warren_test::image::forget().await
}
