//! Reads the tree as text: which files there are, and Rust code with its comments and strings blanked out.

use std::path::{Path, PathBuf};

/// One text file of the tree.
pub struct File {
    /// Relative to the root, with `/` between folders.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl File {
    /// `path:line: what`, with the line counted from 1.
    pub fn at(&self, index: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, index + 1)
    }

    /// Whether the file as a whole is test code; its tasks end with the runtime of the test that made them.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("test/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
    }

    /// The lines before the file's test module; the whole file where there is none.
    pub fn lines_before_tests(&self) -> usize {
        self.text
            .lines()
            .position(|line| line.trim_end() == "#[cfg(test)]")
            .unwrap_or_else(|| self.text.lines().count())
    }
}

/// The root of the workspace.
///
/// # Panics
/// Never: this crate lies in a folder of the root.
pub fn root() -> PathBuf {
    let test = Path::new(env!("CARGO_MANIFEST_DIR"));
    test.parent().expect("the test crate lies in the root").to_path_buf()
}

/// Every text file of the tree, in order of path; build output and Git's own folder are not of the tree.
///
/// # Panics
/// Where a folder of the tree cannot be read.
pub fn files() -> Vec<File> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the tree is readable") {
            let entry = entry.expect("a folder entry is readable");
            let kind = entry.file_type().expect("an entry has a type");
            let name = entry.file_name();
            if kind.is_dir() && name != "target" && name != ".git" {
                folders.push(entry.path());
            } else if kind.is_file()
                && name != ".git"
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                let path = entry.path();
                let path = path.strip_prefix(&root).expect("found below the root");
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Every Rust file of the tree.
pub fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// The same text with the content of comments, strings and character literals replaced by spaces, line for line, so
/// that a search finds code only. The quotes themselves stay.
///
/// # Panics
/// Never: only whole characters are replaced.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'r' if !continues_a_word(bytes, at) => match raw_string(bytes, at) {
                Some((from, to)) => {
                    blank(&mut out, from, to);
                    at = to + (from - at - 1);
                    continue;
                }
                None => at,
            },
            b'"' => {
                let end = string_end(bytes, at + 1);
                blank(&mut out, at + 1, end - 1);
                at = end;
                continue;
            }
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end > at {
            blank(&mut out, at, end);
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole characters were replaced")
}

fn blank(out: &mut [u8], from: usize, to: usize) {
    for byte in &mut out[from..to] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn continues_a_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too; any other letter before the `r` makes it part of a name.
    at > 0
        && bytes[at - 1] != b'b'
        && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The content of the raw string that starts here, without its quotes.
fn raw_string(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let from = at + 1 + hashes + 1;
    if bytes.get(from - 1) != Some(&b'"') {
        return None;
    }
    let close = [vec![b'"'], vec![b'#'; hashes]].concat();
    let to = bytes[from..].windows(close.len()).position(|window| window == close)?;
    Some((from, from + to))
}

/// Just past the closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Just past a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let width = match bytes.get(at + 1)? {
        byte if byte.is_ascii() => 1,
        byte if *byte >= 0xF0 => 4,
        byte if *byte >= 0xE0 => 3,
        _ => 2,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + width + 2)
}

#[test]
fn code_only_keeps_code_and_lines() {
    let text = "a /* x /* y */ z */ b // c\n\"d\\\"e\" r#\"f\"g\"# '\\'' 'h' &'life i\n";
    let seen = code_only(text);
    assert_eq!(seen.lines().count(), text.lines().count());
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "\"", "\"", "r#\"", "\"#", "&'life", "i"]);
}
