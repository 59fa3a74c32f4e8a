//! Which demand is proved where.
//!
//! A test, a bench or a section of a document proves a demand by carrying its tag: the word `req`, a colon, and one or
//! more ids, in a comment above the test or below the heading.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use super::Page;
use crate::tree::{self, File};

/// One demand of the documents that Warren was written from.
pub struct Requirement {
    /// A letter for the document and a number.
    pub id: String,
    /// What it asks for, in few words.
    pub title: String,
}

/// One tag found in the tree.
pub struct Proof {
    /// The demand it names; may be no real id.
    pub id: String,
    /// The file that carries the tag.
    pub path: String,
    /// The line of the tag, from 1.
    pub line: usize,
    /// The test or heading it belongs to.
    pub name: String,
    /// Whether it stands in a test, a bench or a document, and so may prove something.
    pub proves: bool,
}

const IDS: &str = "docs/reference/requirements-ids.txt";
const PAGE: &str = "docs/reference/requirements.md";
const TAG: &str = "req:";

/// The committed list of demands, in order.
///
/// # Errors
/// Where the list is missing, or a line of it is not an id and a title.
pub fn listed() -> anyhow::Result<Vec<Requirement>> {
    let text = std::fs::read_to_string(tree::root().join(IDS)).context(IDS)?;
    let mut listed: Vec<Requirement> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(' ') {
            Some((id, title)) if is_id(id) => {
                listed.push(Requirement { id: id.to_owned(), title: title.to_owned() });
            }
            _ => bail!("{IDS}: `{line}` is not an id and a title"),
        }
    }
    Ok(listed)
}

/// Every tag of the tree, in order of path and line.
pub fn proofs() -> Vec<Proof> {
    tree::files().iter().filter(|file| may_carry_tags(file)).flat_map(proofs_in).collect()
}

/// The generated table.
///
/// # Errors
/// As [`listed`].
pub fn page() -> anyhow::Result<Page> {
    let listed = listed()?;
    let mut by_id: BTreeMap<String, Vec<Proof>> = BTreeMap::new();
    for proof in proofs() {
        by_id.entry(proof.id.clone()).or_default().push(proof);
    }
    let proved = listed.iter().filter(|demand| by_id.contains_key(&demand.id)).count();
    let mut text = format!(
        "# Requirements\n\nWritten by `make fix` from `requirements-ids.txt` and the tags in tests and documents; \
         do not edit.\n\n{proved} of {} demands are proved; the others are open and say so.\n\n\
         | id | demand | proved by |\n|---|---|---|\n",
        listed.len()
    );
    for demand in &listed {
        let cell = match by_id.get(&demand.id) {
            Some(proofs) => proofs.iter().map(link).collect::<Vec<_>>().join("<br>"),
            None => "open".to_owned(),
        };
        text.push_str(&format!("| {} | {} | {cell} |\n", demand.id, demand.title));
    }
    Ok(Page { path: PAGE, text })
}

fn link(proof: &Proof) -> String {
    format!("[{}](../../{}) {}", proof.path, proof.path, proof.name)
}

fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix(['A', 'B', 'C', 'D', 'E']).unwrap_or_default();
    (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The rules about tags show tags; they prove nothing.
fn may_carry_tags(file: &File) -> bool {
    file.path != IDS
        && file.path != PAGE
        && file.path != "docs/STYLE.md"
        && file.path != "test/src/reference/requirements.rs"
}

fn proofs_in(file: &File) -> Vec<Proof> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut proofs = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        for id in tagged(line) {
            proofs.push(Proof {
                id: id.to_owned(),
                path: file.path.clone(),
                line: index + 1,
                name: name_at(file, &lines, index),
                proves: file.path.ends_with(".md")
                    || file.is_test()
                    || index > file.lines_before_tests()
                    || lines[index..].iter().take(4).any(|line| line.trim() == "#[test]"),
            });
        }
    }
    proofs
}

/// The ids after the tag of a line; none where the word is a field or a path of code.
fn tagged(line: &str) -> Vec<&str> {
    let Some((before, after)) = line.split_once(TAG) else { return vec![] };
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return vec![];
    }
    after.split([' ', ',']).filter(|word| !word.is_empty()).take_while(|word| is_id(word)).collect()
}

/// The function below a tag in code; the heading above it elsewhere.
fn name_at(file: &File, lines: &[&str], index: usize) -> String {
    if file.path.ends_with(".rs") {
        let head = lines[index..].iter().find_map(|line| line.split_once("fn "));
        return head
            .and_then(|(_, rest)| rest.split(['(', '<']).next())
            .map_or_else(String::new, |name| format!("`{name}`"));
    }
    let heading = lines[..=index].iter().rev().find(|line| line.starts_with('#'));
    heading.map_or_else(String::new, |line| line.trim_start_matches('#').trim().to_owned())
}

#[test]
fn only_ids_after_the_tag_count() {
    assert_eq!(tagged("// req: B15, B16 and E1"), ["B15", "B16"]);
    assert_eq!(tagged("<!-- req: A4 -->"), ["A4"]);
    assert!(tagged("    req: Request<Body>,").is_empty());
    assert!(tagged("freq: B15").is_empty());
    assert!(tagged("req: F1 B2").is_empty());
}
