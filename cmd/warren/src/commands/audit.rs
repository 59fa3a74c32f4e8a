//! `warren audit`

use crate::client::{Client, ClientArgs, StaleArgs, request};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, OutputArgs};
use clap::Args;
use serde::Serialize;
use warren_core::audit::{self, AuditEntry};
use warren_wire::convert::audit::{hash, parse};
use warren_wire::v1;

/// Show who did what, when and from where
///
/// Every call that changes something is kept, also where it was refused for what it asked, and every step of a release.
/// The cluster keeps the last 10,000 entries. Each has a hash over the one before it: `--verify` says whether any was
/// changed, added or left out.
#[derive(Args, Debug)]
pub struct Audit {
    /// Only what was done to this, as in web
    target: Option<String>,
    /// Only what they did, by their name
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only what was done by people and programs, not by Warren
    #[arg(long, conflicts_with = "by")]
    people: bool,
    /// From the entry with this number on
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// The newest so many of them
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    last: usize,
    /// Check the chain of hashes of all that is kept, and show its end
    #[arg(long, conflicts_with_all = ["target", "by", "people", "last"])]
    verify: bool,
    /// A hash that was noted earlier, which must still be in the chain
    #[arg(long, value_name = "HASH", requires = "verify")]
    noted: Option<String>,
    #[command(flatten)]
    stale: StaleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `--verify` says.
#[derive(Serialize)]
struct Verified {
    /// Numbers of the oldest and newest entry that is kept.
    first: u64,
    last: u64,
    /// The end of the chain.
    hash: String,
}

impl Audit {
    /// Runs it.
    ///
    /// # Errors
    /// No Warren answers, or the chain is broken.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let client = self.stale.connect(client).await?;
        let kept = read(&client, self.from.unwrap_or_default()).await?;
        if self.verify {
            return self.verified(kept);
        }
        let mut entries: Vec<_> =
            kept.entries.into_iter().filter(|entry| self.wants(entry)).collect();
        let entries = entries.split_off(entries.len().saturating_sub(self.last));
        output::print(self.output.output, &entries, |entries| {
            let rows = entries.iter().map(|entry| {
                let detail = match entry.refused.as_str() {
                    "" => entry.detail.clone(),
                    why => format!("REFUSED: {why}"),
                };
                let who = match entry.from.as_str() {
                    "" => entry.by.clone(),
                    from => format!("{} ({from})", entry.by),
                };
                let at = output::moment(entry.at_unix_ms);
                let number = entry.number.to_string();
                vec![number, at, who, entry.action.clone(), entry.target.clone(), detail]
            });
            output::table(&["NUMBER", "AT", "BY", "ACTION", "TARGET", "DETAIL"], rows)
        })
    }

    fn wants(&self, entry: &v1::AuditEntry) -> bool {
        self.target.as_ref().is_none_or(|target| *target == entry.target)
            && self.by.as_ref().is_none_or(|by| *by == entry.by)
            && !(self.people && entry.by == "warren")
    }

    fn verified(&self, kept: Kept) -> Outcome {
        let wrong = |error: warren_core::spec::FieldError| Failure::new(Exit::Failed, error);
        let before = hash("hash_before", &kept.before).map_err(wrong)?;
        let entries = kept.entries.into_iter().map(parse).collect::<Result<Vec<AuditEntry>, _>>();
        let entries = entries.map_err(wrong)?;
        if let Some(number) = audit::broken(before, &entries) {
            let why = format!("entry {number} does not follow from the one before it");
            return Err(Failure::new(Exit::Failed, why).hint(
                "somebody changed what a manager keeps: compare with another, or with a backup",
            ));
        }
        let end = entries.last().map_or(before, |last| last.hash);
        if let Some(noted) = &self.noted {
            let noted = hash("--noted", noted).map_err(Failure::usage)?;
            if noted != before && !entries.iter().any(|entry| entry.hash == noted) {
                return Err(Failure::new(Exit::Failed, "the noted hash is not in the chain")
                    .hint("it is older than what is kept, or the chain is another one"));
            }
        }
        let first = entries.first().map_or(0, |entry| entry.number);
        let last = entries.last().map_or(0, |entry| entry.number);
        let said = Verified { first, last, hash: warren_wire::trust::hex(&end) };
        output::print(self.output.output, &said, |said| {
            format!(
                "entries {} to {} follow from each other; the chain ends with {}\n",
                said.first, said.last, said.hash
            )
        })
    }
}

/// All that is kept from a number on.
struct Kept {
    before: String,
    entries: Vec<v1::AuditEntry>,
}

async fn read(client: &Client, from: u64) -> Outcome<Kept> {
    let first = page(client, from).await?;
    let mut kept = Kept { before: first.hash_before, entries: first.entries };
    // What is added meanwhile is for the next time: there is an end.
    while let Some(last) = kept.entries.last().map(|entry| entry.number)
        && last < first.count
    {
        let next = page(client, last + 1).await?.entries;
        if next.is_empty() {
            break;
        }
        kept.entries.extend(next);
    }
    Ok(kept)
}

async fn page(client: &Client, from: u64) -> Outcome<v1::ListAuditResponse> {
    let asked = request(v1::ListAuditRequest { from, limit: 0 });
    Ok(client.clusters().list_audit(asked).await?.into_inner())
}
