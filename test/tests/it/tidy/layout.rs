//! How a Rust file is laid out: its first line, its length, its width, and the length of its functions.

use warren_test::tree;

use super::refuse;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
/// Prose in comments may run a little past the code, as the formatter leaves comments alone.
const COMMENT_COLUMNS_MAX: usize = 120;

#[test]
fn every_file_says_what_it_is() {
    let offences: Vec<String> = tree::rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    refuse("a file does not say what it is", "begin it with a `//!` line", &offences);
}

#[test]
fn files_have_one_subject() {
    let offences: Vec<String> = tree::rust_files()
        .iter()
        .filter(|file| !file.is_test() || file.path.starts_with("test/"))
        .map(|file| (file.lines_before_tests(), file))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, file)| format!("{}: {lines} lines before its tests", file.path))
        .collect();
    refuse("a file is longer than 500 lines", "split it by subject, not by size", &offences);
}

#[test]
fn lines_fit_the_page() {
    let mut offences = Vec::new();
    for file in tree::rust_files() {
        let code = tree::code_only(&file.text);
        for (index, (line, code)) in file.text.lines().zip(code.lines()).enumerate() {
            let (columns, code_columns) = (line.chars().count(), code.trim_end().chars().count());
            // The formatter does not reach into the macros that property tests are written in.
            let test = file.is_test() || index >= file.lines_before_tests();
            let wide = columns > COMMENT_COLUMNS_MAX || (code_columns > COLUMNS_MAX && !test);
            // A string that must stay on one line to be found by a search is not broken.
            if wide && !line.contains('"') {
                offences.push(file.at(index, &format!("{columns} columns")));
            }
        }
    }
    refuse("a line is too wide", "code ends at 100 columns, a comment at 120", &offences);
}

/// (first line, name, lines of code) of every function with a body.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let (mut depth, mut open, mut count) = (0_usize, false, 0);
        'body: for line in &lines[index..] {
            count += usize::from(!line.trim().is_empty());
            for byte in line.bytes() {
                match byte {
                    b';' if !open && depth == 0 => break 'body,
                    b'[' | b'(' if !open => depth += 1,
                    b']' | b')' if !open => depth -= 1,
                    b'{' => {
                        open = true;
                        depth += 1;
                    }
                    b'}' if open => {
                        depth -= 1;
                        if depth == 0 {
                            found.push((index, name.to_owned(), count));
                            break 'body;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let at = line.find("fn ")?;
    let head = line[..at].trim();
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const"];
    let is_item = head.split(' ').all(|word| word.is_empty() || qualifiers.contains(&word));
    is_item.then(|| line[at + 3..].split(['(', '<']).next().unwrap_or_default())
}

#[test]
fn functions_fit_a_screen() {
    let mut offences = Vec::new();
    // A test may be one long table of cases.
    for file in tree::rust_files().iter().filter(|file| !file.is_test()) {
        for (index, name, lines) in functions(&tree::code_only(&file.text)) {
            if lines > FUNCTION_LINES_MAX {
                offences.push(file.at(index, &format!("fn {name} has {lines} lines of code")));
            }
        }
    }
    refuse(
        "a function is longer than 70 lines",
        "keep the branches, move straight work out",
        &offences,
    );
}

#[test]
fn functions_are_counted_from_head_to_brace() {
    let code = "trait T {\n    fn none(&self, a: [u8; 2]);\n}\npub async fn two(\n    a: u8,\n) {\n\n    if a { b }\n}\n";
    assert_eq!(functions(code), [(3, "two".to_owned(), 5)]);
}
