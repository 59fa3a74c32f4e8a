//! What does not pass between machines. Every frame is marked where it comes in with the machine that sent it, and
//! dropped where it would go out to one that may not hear it; so it is the same on one link and across links, for a
//! machine's own traffic and for that of its containers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::namespace::Namespace;

/// The machines that do not hear each other, as (from, to), counted from 0.
pub(super) struct Cuts {
    hub: Arc<Namespace>,
    now: Mutex<BTreeSet<(usize, usize)>>,
}

impl Cuts {
    pub(super) fn prepare(hub: Arc<Namespace>, machines: usize) -> anyhow::Result<Self> {
        let mut rules = String::from(
            "table bridge cuts {\n\
             chain enter { type filter hook prerouting priority -300; policy accept;\n",
        );
        for mark in 1..=machines {
            let _ = writeln!(rules, "iifname m{mark} meta mark set {mark};");
        }
        rules.push_str(
            "}\nchain leave { type filter hook postrouting priority 300; policy accept; }\n}\n",
        );
        hub.run("nft", &["-f", "-"], &rules)?;
        Ok(Self { hub, now: Mutex::default() })
    }

    pub(super) fn cut(&self, pairs: &[(usize, usize)]) -> anyhow::Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.extend(pairs);
        self.write(&now)
    }

    pub(super) fn heal(&self) -> anyhow::Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clear();
        self.write(&now)
    }

    fn write(&self, now: &BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        let mut rules = String::from("flush chain bridge cuts leave\n");
        for (from, to) in now {
            let (from, to) = (from + 1, to + 1);
            let rule = format!("oifname m{to} meta mark {from} drop");
            let _ = writeln!(rules, "add rule bridge cuts leave {rule}");
        }
        self.hub.run("nft", &["-f", "-"], &rules).map(drop)
    }
}
