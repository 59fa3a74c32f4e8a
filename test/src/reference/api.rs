//! The page of the API: every service, message and enum of the public proto files, with their comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};

use super::Page;

/// The files that nodes use among themselves; no client may rely on them.
const INTERNAL: [&str; 2] = ["warren/v1/session.proto", "warren/v1/raft.proto"];

/// Numbers of the descriptor's own fields, by which it says where a comment belongs.
mod part {
    pub(super) const MESSAGE: i32 = 4;
    pub(super) const ENUM: i32 = 5;
    pub(super) const SERVICE: i32 = 6;
    /// A field of a message, a method of a service, a value of an enum.
    pub(super) const MEMBER: i32 = 2;
    pub(super) const NESTED_MESSAGE: i32 = 3;
    pub(super) const NESTED_ENUM: i32 = 4;
}

/// Comments by the place they stand before.
type Comments = BTreeMap<Vec<i32>, String>;

/// The generated page.
///
/// # Errors
/// Where the descriptors that the wire crate carries cannot be read.
pub(super) fn page() -> anyhow::Result<Page> {
    let set = FileDescriptorSet::decode(warren_wire::v1::FILE_DESCRIPTOR_SET)?;
    let mut text = String::from(
        "# API\n\nWritten by `make fix` from `proto/warren/v1`; do not edit.\n\n\
         Every call is gRPC on the node's port, and on its Unix socket for its administrator. The server answers \
         reflection and the standard health service. A call that is not there yet answers `UNIMPLEMENTED` and says \
         why.\n",
    );
    for file in set.file.iter().filter(|file| file.package() == "warren.v1") {
        if !INTERNAL.contains(&file.name()) {
            write_file(&mut text, file);
        }
    }
    Ok(Page { path: "docs/reference/api.md", text })
}

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter_map(|at| Some((at.path.clone(), at.leading_comments.as_ref()?)))
        .map(|(path, comment)| {
            (path, comment.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
        })
        .collect()
}

fn write_file(text: &mut String, file: &FileDescriptorProto) {
    let said = comments(file);
    let title = file.name().rsplit('/').next().unwrap_or_default();
    let _ = writeln!(text, "\n## `{title}`");
    for (index, service) in indexed(&file.service) {
        write_service(text, service, &said, &[part::SERVICE, index]);
    }
    for (index, message) in indexed(&file.message_type) {
        write_message(text, message, "", &said, &[part::MESSAGE, index]);
    }
    for (index, kind) in indexed(&file.enum_type) {
        write_enum(text, kind, "", &said, &[part::ENUM, index]);
    }
}

fn indexed<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}

fn write_service(
    text: &mut String,
    service: &ServiceDescriptorProto,
    said: &Comments,
    path: &[i32],
) {
    heading(text, "service", service.name(), said, path);
    text.push_str("| call | takes | gives | |\n|---|---|---|---|\n");
    for (index, method) in indexed(&service.method) {
        let stream = |on: bool| if on { "stream of " } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | {}`{}` | {}`{}` | {} |",
            method.name(),
            stream(method.client_streaming()),
            short(method.input_type()),
            stream(method.server_streaming()),
            short(method.output_type()),
            comment(said, path, index),
        );
    }
}

fn write_message(
    text: &mut String,
    message: &DescriptorProto,
    within: &str,
    said: &Comments,
    path: &[i32],
) {
    let name = format!("{within}{}", message.name());
    heading(text, "message", &name, said, path);
    if message.field.is_empty() {
        text.push_str("No fields.\n");
    } else {
        text.push_str("| | field | type | |\n|---|---|---|---|\n");
    }
    for (index, field) in indexed(&message.field) {
        let kind = field_type(field, message);
        let why = comment(said, path, index);
        let _ = writeln!(text, "| {} | `{}` | {kind} | {why} |", field.number(), field.name());
    }
    let within = format!("{name}.");
    for (index, nested) in indexed(&message.nested_type) {
        if !nested.options.as_ref().is_some_and(|options| options.map_entry()) {
            let path = [path, &[part::NESTED_MESSAGE, index]].concat();
            write_message(text, nested, &within, said, &path);
        }
    }
    for (index, nested) in indexed(&message.enum_type) {
        let path = [path, &[part::NESTED_ENUM, index]].concat();
        write_enum(text, nested, &within, said, &path);
    }
}

fn write_enum(
    text: &mut String,
    kind: &EnumDescriptorProto,
    within: &str,
    said: &Comments,
    path: &[i32],
) {
    heading(text, "enum", &format!("{within}{}", kind.name()), said, path);
    text.push_str("| | value | |\n|---|---|---|\n");
    for (index, value) in indexed(&kind.value) {
        let why = comment(said, path, index);
        let _ = writeln!(text, "| {} | `{}` | {why} |", value.number(), value.name());
    }
}

fn heading(text: &mut String, kind: &str, name: &str, said: &Comments, path: &[i32]) {
    let _ = writeln!(text, "\n### {kind} `{name}`\n");
    if let Some(comment) = said.get(path) {
        let _ = writeln!(text, "{comment}\n");
    }
}

fn comment(said: &Comments, path: &[i32], index: i32) -> String {
    let path = [path, &[part::MEMBER, index]].concat();
    // A bar would end the cell of the table.
    said.get(&path).map(|comment| comment.replace('|', "\\|")).unwrap_or_default()
}

fn field_type(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let scalar = format!("{:?}", field.r#type()).to_lowercase();
    let name = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => short(field.type_name()),
        _ => &scalar,
    };
    let entry = message.nested_type.iter().find(|nested| {
        field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name()))
            && nested.options.as_ref().is_some_and(|options| options.map_entry())
    });
    if let Some([key, value]) = entry.map(|entry| entry.field.as_slice()) {
        return format!("map of {} to {}", field_type(key, message), field_type(value, message));
    }
    match field.label() {
        Label::Repeated => format!("list of `{name}`"),
        _ if field.proto3_optional() => format!("`{name}`, optional"),
        _ if field.oneof_index.is_some() => format!("`{name}`, one of these"),
        _ => format!("`{name}`"),
    }
}

fn short(name: &str) -> &str {
    name.trim_start_matches('.').trim_start_matches("warren.v1.")
}
