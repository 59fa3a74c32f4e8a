//! The words that the troubleshooting guide quotes are those that the code says.

use warren_test::tree;

use super::refuse;

/// What stands between two of these varies.
const VARIES: char = '…';
/// Shorter pieces would be found anywhere.
const PIECE_LENGTH_MIN: usize = 6;

/// The quoted messages of a table whose first column is what Warren says, each with its line.
fn quoted(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_said = false;
    for (index, line) in page.lines().enumerate() {
        let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split(" | ").next()) else {
            is_said &= line.starts_with('|');
            continue;
        };
        if cell == "it says" {
            is_said = true;
        } else if is_said {
            let spans = cell.split('`').skip(1).step_by(2);
            found.extend(spans.map(|span| (index, span.to_owned())));
        }
    }
    found
}

/// What the program says: the source without its comments and tests, and with its broken strings joined as the compiler
/// joins them.
fn said(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let source: String = source.lines().filter(is_code).map(|line| format!("{line}\n")).collect();
    let mut pieces = source.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.trim_start())
}

#[test]
fn what_only_comments_and_tests_say_is_not_said() {
    let source = "/// Aside.\nfn f() {\n    // Low.\n    say(\"a \\\n      b\");\n}\n#[cfg(test)]\nmod t {}\n";
    assert_eq!(said(source), "fn f() {\n    say(\"a b\");\n}\n");
}

#[test]
fn quoted_messages_are_said() {
    let files = tree::files();
    let sources: Vec<String> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !file.is_test())
        .map(|file| said(&file.text))
        .collect();
    let page = files.iter().find(|file| file.path == "docs/guides/troubleshooting.md");
    let page = page.expect("the guide is there");
    let quoted = quoted(&page.text);
    assert!(quoted.len() > 30, "the guide has lost its messages: {}", quoted.len());
    let mut offences = Vec::new();
    for (index, message) in quoted {
        for piece in message.split(VARIES).map(str::trim) {
            let is_said = sources.iter().any(|source| source.contains(piece));
            if piece.len() >= PIECE_LENGTH_MIN && !is_said {
                offences.push(page.at(index, &format!("nothing says {piece:?}")));
            }
        }
    }
    refuse("a guide quotes what is not said", "quote the words of the code", &offences);
}
