//! Disks that are full, of one manager and of all.

use super::support::{Site, label, set_label, until, write_somewhere};
use crate::{Leadership, ProposeError, Raft, StorageFault};
use warren_core::id::NodeId;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn all(site: &Site) -> Vec<Raft> {
    site.managers.values().map(|manager| manager.raft.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_room_gives_the_lead_to_a_manager_that_has_some() {
    let mut site = Site::new(3).await;
    site.disk(ONE).set_nearly_full(true);
    // Only three has room: two is passed over.
    site.disk(TWO).set_nearly_full(true);
    let (leader, _) = write_somewhere(&all(&site), &set_label("a", "yes")).await;
    assert_eq!(leader, THREE);
    // They follow, with what room there is, and lead as little when the leader dies, while there is another choice.
    site.agree().await;
    site.disk(TWO).set_nearly_full(false);
    site.kill(THREE).await;
    let (leader, _) = write_somewhere(&all(&site), &set_label("b", "yes")).await;
    assert_eq!(leader, TWO);
    site.start(THREE).await;
    site.agree().await;
    assert_eq!(label(&site.raft(ONE).state().borrow(), "b").as_deref(), Some("yes"));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_room_anywhere_writes_are_refused_and_reads_go_on() {
    let site = Site::new(3).await;
    for node in [ONE, TWO, THREE] {
        site.disk(node).set_nearly_full(true);
    }
    let tries = site.network.sent(ONE, crate::Rpc::PreVote) + 3 * 2;
    until("it has looked for an heir three times", || {
        (site.network.sent(ONE, crate::Rpc::PreVote) >= tries).then_some(())
    })
    .await;
    assert!(matches!(*site.raft(ONE).leadership().borrow(), Leadership::Leader { .. }));
    site.raft(ONE).barrier().await.unwrap();
    let error = site.raft(ONE).propose(vec![set_label("a", "lost")]).await.unwrap_err();
    assert!(matches!(error, ProposeError::Storage(StorageFault::DiskFull { .. })), "{error}");
    site.disk(TWO).set_nearly_full(false);
    let (leader, _) = write_somewhere(&all(&site), &set_label("b", "kept")).await;
    assert_eq!(leader, TWO);
    site.agree().await;
    assert_eq!(label(&site.raft(ONE).state().borrow(), "a"), None);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_write_at_all_stops_and_the_others_go_on() {
    let mut site = Site::new(3).await;
    site.disk(ONE).set_full(true);
    let others = [site.raft(TWO).clone(), site.raft(THREE).clone()];
    write_somewhere(&others, &set_label("a", "yes")).await;
    // It cannot even note for whom it votes.
    let fault = site.ended(ONE).await.unwrap_err();
    assert!(matches!(fault, StorageFault::DiskFull { .. }), "{fault}");
    site.disk(ONE).set_full(false);
    site.start(ONE).await;
    write_somewhere(&others, &set_label("b", "yes")).await;
    site.agree().await;
    site.end().await;
}
