//! Log messages are lower-case literals without a full stop; what varies is a field, so that a message can be searched.

use warren_test::tree;

use super::refuse;

const MACROS: &[&str] = &["trace!(", "debug!(", "info!(", "warn!(", "error!("];

/// Each argument list of a tracing macro in `text`, with the byte where it starts; `code` is the same text with
/// strings and comments blank.
fn calls<'a>(text: &'a str, code: &str) -> Vec<(usize, &'a str)> {
    let mut calls = Vec::new();
    for name in MACROS {
        for (at, _) in code.match_indices(name) {
            let before = code[..at].bytes().last();
            if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                continue;
            }
            let start = at + name.len();
            let mut depth = 1;
            let end = code[start..].bytes().position(|byte| {
                depth += i32::from(b"([{".contains(&byte)) - i32::from(b")]}".contains(&byte));
                depth == 0
            });
            calls.push((start, &text[start..start + end.unwrap_or(0)]));
        }
    }
    calls
}

/// The last string literal that stands as an argument of its own: the message.
fn message(arguments: &str) -> Option<&str> {
    let arguments = arguments.trim().trim_end_matches(',').trim_end();
    let literal = arguments.strip_suffix('"')?;
    let start = literal.rfind('"')?;
    let before = literal[..start].trim_end();
    (before.is_empty() || before.ends_with(',')).then(|| &literal[start + 1..])
}

fn offence(arguments: &str) -> Option<&'static str> {
    let Some(message) = message(arguments) else {
        return Some("the last argument is not a literal message");
    };
    if message.chars().next().is_none_or(char::is_uppercase) {
        Some("the message does not begin in lower case")
    } else if message.ends_with(['.', '!', ':']) {
        Some("the message ends in punctuation")
    } else if message.contains('{') {
        Some("the message interpolates a value")
    } else {
        None
    }
}

#[test]
fn log_messages_are_lower_case_literals() {
    let mut offences = Vec::new();
    for file in tree::rust_files() {
        let code = tree::code_only(&file.text);
        if !code.contains("tracing") {
            continue;
        }
        for (at, arguments) in calls(&file.text, &code) {
            if let Some(what) = offence(arguments) {
                offences.push(file.at(file.text[..at].matches('\n').count(), what));
            }
        }
    }
    refuse(
        "a log line does not read as the others",
        "write `info!(service = %id, \"service created\")`: values are fields, the message is fixed",
        &offences,
    );
}

#[test]
fn offences_are_told_apart() {
    assert_eq!(offence("a = %b(\"x\"), \"node joined\""), None);
    assert_eq!(offence("\"node joined\","), None);
    assert!(offence("\"Node joined\"").is_some());
    assert!(offence("\"node joined.\"").is_some());
    assert!(offence("\"node {id} joined\"").is_some());
    assert!(offence("\"node joined\", id").is_some());
}
