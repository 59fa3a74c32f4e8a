//! Releases on a real node while clients ask without a pause: not one request of theirs may fail, whether the new
//! version is good, bad, taken back, overtaken, or the manager is killed on the way.
//!
//! Services of one test are released beside each other, because what takes time is waiting for windows and caches.

mod bad;
mod by_hand;
mod good;
mod killed;
mod midway;
mod typed;

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures::future::try_join_all;
use warren_test::cluster::{Node, Runtime};
use warren_test::dns;
use warren_test::load::Load;
use warren_test::release::Web;

/// A node with a service of each name, and clients of each.
struct Stage {
    node: Node,
    load: Load,
    webs: Vec<Web>,
}

impl Stage {
    async fn set(runtime: Runtime, replicas: u32, names: &[&str]) -> anyhow::Result<Self> {
        let node = Node::start(runtime).await?;
        let webs = names.iter().map(|name| Web::create(&node, runtime, name, replicas));
        let webs = try_join_all(webs).await?;
        let load = Load::start(&node, names).await?;
        Ok(Self { node, load, webs })
    }

    /// The addresses that a name has, as in `green.web`.
    async fn resolve(&self, name: &str) -> anyhow::Result<BTreeSet<IpAddr>> {
        let found = dns::addresses(self.node.dns_address()?, &format!("{name}.warren.")).await?;
        Ok(found.into_iter().collect())
    }

    /// How many of `questions` are answered with the first revision, and how many with the second.
    async fn split(&self, web: &Web, questions: u32) -> anyhow::Result<(u32, u32)> {
        let split = web.split(&self.node, questions).await?;
        let of = |revision| split.get(&revision).copied().unwrap_or(0);
        Ok((of(1), of(2)))
    }
}
