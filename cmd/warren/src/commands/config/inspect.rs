//! `warren config inspect`

use crate::client::ClientArgs;
use crate::commands::files;
use crate::failure::Outcome;
use crate::output::{self, OutputArgs};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde::Serialize;
use warren_core::spec::FileKind;
use warren_wire::v1;

/// Show a config with its content, its versions, and which services use it
#[derive(Args, Debug)]
pub struct Inspect {
    /// Its name
    name: String,
    /// Whose content to show; the newest where left out
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    version: u32,
    /// Print the content alone, byte by byte
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    file: v1::FileInfo,
    #[serde(flatten)]
    content: Content,
}

/// A content, so that none of it gets lost.
#[derive(Serialize, PartialEq, Debug)]
#[serde(untagged)]
enum Content {
    Text { content: String },
    Bytes { content_base64: String },
}

impl Content {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(content) => Self::Text { content },
            Err(error) => Self::Bytes { content_base64: BASE64_STANDARD.encode(error.as_bytes()) },
        }
    }

    /// As a terminal may have it: what moves its cursor or changes its colours is no text.
    fn page(&self, name: &str) -> String {
        let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        match self {
            Self::Text { content } if content.chars().all(plain) => {
                let end = if content.ends_with('\n') { "" } else { "\n" };
                format!("{content}{end}")
            }
            Self::Text { .. } | Self::Bytes { .. } => {
                format!(
                    "(not text: `warren config inspect {name} --raw > FILE` writes it to a file)\n"
                )
            }
        }
    }
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// There is none of that name, or no such version.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let kind = FileKind::Config;
        let (file, content) = files::get(kind, self.name, self.version, client).await?;
        if self.raw {
            return output::raw(content);
        }
        let shown = Shown { file, content: Content::of(content) };
        output::print(self.output.output, &shown, |Shown { file, content }| {
            format!("{}\n{}", files::page(kind, file), content.page(&file.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_gets_not_lost_and_reaches_no_terminal() {
        let of = |bytes: &[u8]| {
            let shown =
                Shown { file: v1::FileInfo::default(), content: Content::of(bytes.to_vec()) };
            let json = serde_json::to_value(&shown).unwrap();
            (json["content"].clone(), json["content_base64"].clone(), shown.content.page("app"))
        };
        let nothing = serde_json::Value::Null;
        let (text, bytes, page) = of("größe=1".as_bytes());
        assert_eq!((text, bytes, page.as_str()), ("größe=1".into(), nothing.clone(), "größe=1\n"));
        let (text, bytes, page) = of(b"\xff\0");
        assert_eq!((text, bytes), (nothing.clone(), "/wA=".into()));
        assert!(page.contains("app --raw > FILE"), "{page}");
        let (text, bytes, page) = of(b"\x1b[2J");
        assert_eq!((text, bytes), ("\u{1b}[2J".into(), nothing));
        assert!(!page.contains('\u{1b}'), "{page}");
    }
}
