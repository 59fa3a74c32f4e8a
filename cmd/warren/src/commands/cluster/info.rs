//! `warren cluster info`

use crate::client::{ClientArgs, request};
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use clap::Args;
use warren_wire::v1;

/// Show who the managers are, and which join tokens let machines in
///
/// It answers without a leader too: then it says what this manager knows.
#[derive(Args, Debug)]
pub struct Info {
    #[command(flatten)]
    output: OutputArgs,
}

impl Info {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = client.connect().await?;
        let answer = client.clusters().get_cluster(request(v1::GetClusterRequest {})).await?;
        output::print(self.output.output, &answer.into_inner(), text)
    }
}

/// What every node has to speak, and which version says so.
fn level(cluster: &v1::GetClusterResponse) -> String {
    format!("{} (this manager runs Warren {})", cluster.feature_level, cluster.version)
}

fn text(cluster: &v1::GetClusterResponse) -> String {
    let votes = cluster.managers.iter().filter(|manager| manager.votes).count();
    let spare = match (votes, cluster.managers.len()) {
        (0..=2, 0..=2) => "none may be lost: add managers until there are three".to_owned(),
        (0..=2, _) => "none may be lost until the learners vote, once they have the log".to_owned(),
        (votes, _) => format!("{} of them may be lost", (votes - 1) / 2),
    };
    let mut text = output::pairs(&[
        ("cluster", cluster.id.clone()),
        ("epoch", cluster.epoch.to_string()),
        ("zone", cluster.zone.clone()),
        ("pool", cluster.pool.clone()),
        ("votes", format!("{votes}; {spare}")),
        ("term", cluster.term.to_string()),
        ("level", level(cluster)),
        ("state", format!("entry {} in {}", cluster.applied_index, cluster.store)),
    ]);
    let rows = cluster.managers.iter().map(|manager| {
        let role = match (manager.node_id == cluster.leader_id, manager.votes) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        vec![manager.node_id.clone(), role.to_owned(), manager.address.clone()]
    });
    text.push('\n');
    text.push_str(&output::table(&["MANAGER", "IN RAFT", "ADDRESS"], rows));
    if !cluster.join_tokens.is_empty() {
        let rows = cluster.join_tokens.iter().map(|token| {
            vec![token.role.clone(), output::moment(token.expires_unix_ms), token.by.clone()]
        });
        text.push('\n');
        text.push_str(&output::table(&["JOIN TOKEN", "EXPIRES", "MADE BY"], rows));
    }
    text
}
