//! Numbers in the public proto files that clients of others were promised.

use crate::v1::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeMap;

fn numbers(message: &str) -> BTreeMap<i32, String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let messages = set.file.iter().flat_map(|file| &file.message_type);
    let found = messages.into_iter().find(|found| found.name() == message).unwrap();
    found.field.iter().map(|field| (field.number(), field.name().to_owned())).collect()
}

fn first(count: usize, message: &str) -> Vec<String> {
    numbers(message).into_values().take(count).collect()
}

// req: B6 B15
#[test]
fn the_update_request_and_the_strategies_keep_their_numbers() {
    let fields = numbers("UpdateServiceRequest");
    let promised = [(1, "service_id"), (2, "image"), (3, "strategy"), (4, "update_config")];
    for (number, name) in promised {
        assert_eq!(fields[&number], name);
    }
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let enums = set.file.iter().flat_map(|file| &file.enum_type);
    let strategies = enums.into_iter().find(|e| e.name() == "DeploymentStrategy").unwrap();
    let values: Vec<_> = strategies.value.iter().map(|v| (v.number(), v.name())).collect();
    assert_eq!(values[..3], [(0, "ROLLING"), (1, "BLUE_GREEN"), (2, "CANARY")]);
}

// req: B6 B16
#[test]
fn the_update_settings_keep_their_numbers() {
    assert_eq!(
        first(8, "UpdateConfig"),
        [
            "parallelism",
            "delay_seconds",
            "failure_action",
            "canary_weight",
            "max_surge",
            "max_unavailable",
            "canary_steps",
            "stability_window_seconds",
        ]
    );
    assert!(numbers("UpdateConfig").into_keys().take(8).eq(1..=8));
}
