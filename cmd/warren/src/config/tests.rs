//! How the layers of the configuration lie over each other.

use super::*;
use std::io::Write as _;

fn client() -> ClientArgs {
    ClientArgs { data_dir: None, socket: None, context: None }
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn file(text: &str) -> (tempfile::NamedTempFile, NodeFlags) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let flags = NodeFlags { config: Some(file.path().into()), ..NodeFlags::default() };
    (file, flags)
}

#[test]
fn the_last_layer_wins_and_is_named() {
    let (_file, mut flags) = file("http = \"127.0.0.1:1\"\nzone = \"a\"\nlog = \"warn\"\n");
    flags.log = Some("debug".into());
    let env = |name: &str| match name {
        "WARREN_ZONE" => Some("b".to_owned()),
        "WARREN_LOG" => Some("error".to_owned()),
        _ => None,
    };
    let settings = settings(&flags, &client(), env).unwrap();
    let of = |key: &str| (settings[key].value.as_str(), settings[key].source.clone());
    assert_eq!(of("store"), ("redb", Source::Default));
    assert_eq!(of("http").0, "127.0.0.1:1");
    assert_eq!(of("zone"), ("b", Source::Env("WARREN_ZONE".into())));
    assert_eq!(of("log"), ("debug", Source::Flag("--log".into())));
}

#[test]
fn a_key_that_there_is_not_is_refused_with_the_one_that_was_meant() {
    let (_file, flags) = file("stroe = \"redb\"\n");
    let failure = settings(&flags, &client(), nothing).unwrap_err().to_string();
    assert!(failure.contains("stroe is not a key"), "{failure}");
    assert!(failure.contains("did you mean store?"), "{failure}");
}

#[test]
fn a_file_that_is_named_must_exist_and_be_toml() {
    let flags = NodeFlags { config: Some("/nonexistent.toml".into()), ..NodeFlags::default() };
    assert!(settings(&flags, &client(), nothing).is_err());
    let (_file, flags) = file("http = \n");
    assert!(settings(&flags, &client(), nothing).is_err());
}

#[test]
fn the_defaults_are_legal_and_lists_may_be_written_either_way() {
    let (_file, flags) = file("[node_label]\ndisk = \"ssd\"\nrank = 3\n");
    let read = settings(&flags, &client(), nothing).unwrap();
    let config = NodeConfig::from_settings(&read).unwrap();
    assert_eq!(config.node_labels.len(), 2);
    assert_eq!(config.pool.to_string(), "10.210.0.0/16");

    let (_file, flags) = file("dns_upstreams = [\"192.0.2.1\", \"192.0.2.2:5353\"]\n");
    let read = settings(&flags, &client(), nothing).unwrap();
    let config = NodeConfig::from_settings(&read).unwrap();
    let expected = ["192.0.2.1:53", "192.0.2.2:5353"].map(|text| text.parse().unwrap());
    assert_eq!(config.dns_upstreams, Upstreams::These(expected.to_vec()));

    let list = "freeze_windows = [\"0 18 * * 5 62h weekend\", \"0 0 20,27 12 * 5d holidays\"]\n";
    let (_file, flags) = file(list);
    let read = settings(&flags, &client(), nothing).unwrap();
    assert_eq!(NodeConfig::from_settings(&read).unwrap().freeze_windows.len(), 2);
    let text = "0 18 * * 5 62h weekend; 0 0 20,27 12 * 5d holidays;";
    let env = |name: &str| (name == "WARREN_FREEZE_WINDOWS").then(|| text.to_owned());
    let read = settings(&NodeFlags::default(), &client(), env).unwrap();
    assert_eq!(NodeConfig::from_settings(&read).unwrap().freeze_windows.len(), 2);
}

#[test]
fn a_value_that_cannot_be_names_its_source() {
    for (key, wrong) in [
        ("http", "7401"),
        ("metrics_alias_prefix", "9x-"),
        ("metrics_alias_prefix", "warren_"),
        ("dns", "localhost:53"),
        ("dns_upstreams", "dns.example"),
        ("runtime", "podman"),
        ("store", "etcd"),
        ("zone", "War_ren!"),
        ("pool", "10.210.0.0/30"),
        ("pool", "10.210.1.0/16"),
        ("pool", "fd00::/16"),
        ("hostname", "Host_1"),
        ("node_label", "disk"),
        ("log", "info,=,"),
        ("log_format", "xml"),
        ("freeze_windows", "0 18 * * 5 weekend"),
        ("freeze_windows", "0 18 * * 5 62h weekend; 0 25 * * 5 62h late"),
        ("stop_timeout", "20"),
    ] {
        let name = format!("WARREN_{}", key.to_uppercase());
        let env = |asked: &str| (asked == name).then(|| wrong.to_owned());
        let read = settings(&NodeFlags::default(), &client(), env).unwrap();
        let failure = NodeConfig::from_settings(&read).unwrap_err().to_string();
        assert!(failure.starts_with(&name), "{key}: {failure}");
    }
}

#[test]
fn every_key_has_its_flag_and_every_flag_its_key() {
    let tree = crate::cli::tree();
    let up = tree.find_subcommand("up").unwrap();
    for key in KEYS {
        let flag = key.name.replace('_', "-");
        let known = up.get_arguments().chain(tree.get_arguments());
        assert!(known.into_iter().any(|arg| arg.get_long() == Some(&flag)), "--{flag}");
    }
    let flags = NodeFlags::augment_args(clap::Command::new("flags"));
    for arg in flags.get_arguments().filter_map(clap::Arg::get_long).filter(|a| *a != "config") {
        assert!(KEYS.iter().any(|key| key.name.replace('_', "-") == arg), "--{arg}");
    }
}
