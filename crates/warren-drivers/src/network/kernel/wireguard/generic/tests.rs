//! What is sent to the kernel, by the numbers of its headers, and what comes back.

use super::super::super::super::key::WireSecret;
use super::*;
use std::collections::BTreeSet;

fn bytes(setting: &Setting<'_>) -> Vec<u8> {
    let attributes = attributes("wrg-1", setting);
    let message = WireguardMessage { cmd: WireguardCmd::SetDevice, attributes };
    let mut message = NetlinkMessage::from(of_family(message, 0x21));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// An attribute as `linux/netlink.h` lays it out, filled up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const NESTED: u16 = 0x8000;

/// The family's number, request and acknowledgement, command 1 of version 1.
fn framed(attributes: &[Vec<u8>]) -> Vec<u8> {
    let payload = [vec![1, 1, 0, 0], attributes.concat()].concat();
    let length = u32::try_from(payload.len() + 16).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([0x21_u16.to_ne_bytes(), 5_u16.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

#[test]
fn a_device_is_begun_as_the_kernel_s_header_says() {
    let secret = WireSecret::from_random(Zeroizing::new([9; 32]));
    let wanted = framed(&[
        attribute(2, b"wrg-1\0"),
        attribute(5, &1_u32.to_ne_bytes()),
        attribute(3, secret.bytes()),
        attribute(6, &7403_u16.to_ne_bytes()),
    ]);
    assert_eq!(bytes(&Setting::Begin(&secret, 7403)), wanted);
}

#[test]
fn a_peer_is_set_and_removed_as_the_kernel_s_header_says() {
    let subnets = BTreeSet::from(["10.210.2.0/24".parse().unwrap()]);
    let peer = WirePeer { endpoint: "198.18.0.12:7403".parse().ok(), subnets };
    let key = WireGuardKey([2; 32]);
    let allowed =
        [attribute(1, &2_u16.to_ne_bytes()), attribute(2, &[10, 210, 2, 0]), attribute(3, &[24])];
    let mut endpoint = 2_u16.to_ne_bytes().to_vec();
    endpoint.extend(7403_u16.to_be_bytes());
    endpoint.extend([198, 18, 0, 12]);
    endpoint.extend([0; 8]);
    let about = [
        attribute(1, &[2; 32]),
        attribute(3, &2_u32.to_ne_bytes()),
        attribute(4, &endpoint),
        attribute(9 | NESTED, &attribute(NESTED, &allowed.concat())),
    ];
    let peers = attribute(8 | NESTED, &attribute(NESTED, &about.concat()));
    assert_eq!(bytes(&Setting::Peer(&key, &peer)), framed(&[attribute(2, b"wrg-1\0"), peers]));
    let about = [attribute(1, &[2; 32]), attribute(3, &1_u32.to_ne_bytes())];
    let peers = attribute(8 | NESTED, &attribute(NESTED, &about.concat()));
    assert_eq!(bytes(&Setting::NoPeer(&key)), framed(&[attribute(2, b"wrg-1\0"), peers]));
}

#[test]
fn a_device_that_comes_in_two_messages_is_one() {
    let reply = |attributes: &[Vec<u8>]| {
        let payload = [vec![0, 1, 0, 0], attributes.concat()].concat();
        let length = u32::try_from(payload.len() + 16).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([0x21_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    };
    let allowed = |third: u8| {
        let parts = [
            attribute(1, &2_u16.to_ne_bytes()),
            attribute(2, &[10, 210, third, 0]),
            attribute(3, &[24]),
        ];
        attribute(9 | NESTED, &attribute(NESTED, &parts.concat()))
    };
    let peer = |third: u8| {
        let about = [attribute(1, &[2; 32]), allowed(third)].concat();
        attribute(8 | NESTED, &attribute(NESTED, &about))
    };
    let first = [
        attribute(3, &[7; 32]),
        attribute(4, &[8; 32]),
        attribute(6, &7403_u16.to_ne_bytes()),
        peer(2),
    ];
    let mut packet = reply(&first);
    packet.extend(reply(&[attribute(4, &[8; 32]), peer(3)]));
    let mut replies = Vec::new();
    assert!(!take::<WireguardMessage>(&packet, &mut replies).unwrap(), "the end is not there yet");
    // Done, and nothing more of it.
    let mut done = 20_u32.to_ne_bytes().to_vec();
    done.extend([3_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat());
    done.extend([0; 12]);
    assert!(take::<WireguardMessage>(&done, &mut replies).unwrap());
    let settings = settings(replies);
    assert_eq!((settings.key, settings.port), (Some(WireGuardKey([8; 32])), 7403));
    let subnets = ["10.210.2.0/24", "10.210.3.0/24"].map(|text| text.parse().unwrap());
    let peer = WirePeer { endpoint: None, subnets: BTreeSet::from(subnets) };
    assert_eq!(settings.peers, [(WireGuardKey([2; 32]), peer)].into());
}

#[test]
fn a_packet_that_is_cut_or_a_refusal_is_an_error() {
    let mut replies = Vec::new();
    assert!(take::<WireguardMessage>(&[1, 2, 3], &mut replies).is_err());
    let mut refused = 36_u32.to_ne_bytes().to_vec();
    refused.extend([2_u16.to_ne_bytes(), 0_u16.to_ne_bytes()].concat());
    refused.extend([0; 8]);
    refused.extend((-19_i32).to_ne_bytes());
    refused.extend([0; 16]);
    let error = take::<WireguardMessage>(&refused, &mut replies).unwrap_err();
    assert!(is(&error, Errno::ENODEV), "{error}");
}

#[tokio::test]
async fn a_kernel_says_whether_it_knows_wireguard() {
    let known = is_known().await.unwrap();
    // No device is called so, whether the kernel could have one or not.
    assert_eq!(read("wrg-nowhere").await, Ok(None));
    let refused = set("wrg-nowhere", &Setting::Clear).await.unwrap_err();
    let unsupported = matches!(refused, NetworkError::Unsupported { .. });
    assert_eq!(unsupported, !known, "{refused}");
}
