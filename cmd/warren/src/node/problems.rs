//! What is in this node's way, in sentences. Several roles tell of it, each of its own.

use std::collections::BTreeSet;
use tokio::sync::watch;

/// What keeps containers from reaching others, or the node from a role or from writing.
pub type Problems = BTreeSet<String>;

/// Tells what a role has `found` in place of what it told before, which is `mine`. Returns what of it is new.
pub fn tell(told: &watch::Sender<Problems>, mine: &mut Problems, found: Problems) -> Vec<String> {
    let news = found.difference(mine).cloned().collect();
    told.send_if_modified(|told| {
        let others = told.difference(mine);
        let next = others.chain(&found).cloned().collect();
        std::mem::replace(told, next) != *told
    });
    *mine = found;
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_takes_back_its_own_problems_alone() {
        let of = |problems: &[&str]| -> Problems {
            problems.iter().map(|problem| (*problem).to_owned()).collect()
        };
        let (sender, mut told) = watch::channel(Problems::new());
        let (mut disk, mut network) = (Problems::new(), Problems::new());
        assert_eq!(tell(&sender, &mut disk, of(&["no room"])), ["no room"]);
        assert_eq!(tell(&sender, &mut network, of(&["no link"])), ["no link"]);
        assert_eq!(*told.borrow_and_update(), of(&["no link", "no room"]));
        assert_eq!(tell(&sender, &mut disk, of(&["no room"])), [""; 0]);
        assert!(!told.has_changed().unwrap(), "nothing is new");
        tell(&sender, &mut disk, of(&[]));
        assert_eq!(*told.borrow(), of(&["no link"]));
    }
}
