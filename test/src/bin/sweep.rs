//! Removes the images that the tests of this tree have made and share; `make test` ends with it.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    warren_test::image::forget().await
}
