//! What is asked of programs, and what may come back.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn secret() -> WireSecret {
    WireSecret::from_random(Zeroizing::new([9; 32]))
}

fn answered(text: &str) -> Result<Settings, String> {
    let mut answer = Answer::default();
    if answer.take(text.as_bytes())? { Ok(answer.settings) } else { Err("no end".into()) }
}

#[test]
fn a_device_is_read_with_its_peers_and_without_its_secret() {
    let text = format!(
        "private_key={}\nlisten_port=7403\nfwmark=1\npublic_key={}\nendpoint=198.18.0.12:7403\n\
         allowed_ip=10.210.2.0/24\nallowed_ip=fd00::/64\nrx_bytes=7\npublic_key={}\nerrno=0\n\n",
        hex(secret().bytes()).as_str(),
        "02".repeat(32),
        "03".repeat(32)
    );
    let settings = answered(&text).unwrap();
    assert_eq!((settings.key, settings.port), (Some(secret().public()), 7403));
    let two = WirePeer {
        endpoint: "198.18.0.12:7403".parse().ok(),
        subnets: BTreeSet::from(["10.210.2.0/24".parse().unwrap()]),
    };
    let peers = [(WireGuardKey([2; 32]), two), (WireGuardKey([3; 32]), WirePeer::nobody())];
    assert_eq!(settings.peers, peers.into());
    assert!(!format!("{settings:?}").contains(&hex(secret().bytes())[8..]), "{settings:?}");
}

#[test]
fn a_device_without_a_key_is_not_set_up_and_a_refusal_is_told_in_words() {
    assert_eq!(answered("listen_port=0\nerrno=0\n\n"), Ok(Settings::default()));
    let refused = answered("errno=98\n\n").unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    for text in [
        "public_key=02\n\n",
        "endpoint=198.18.0.12:7403\n\n",
        "listen_port=x\n\n",
        "private_key=\u{fc}\n\n",
        "nonsense\n\n",
        "errno=x\n\n",
    ] {
        assert!(answered(text).is_err(), "{text:?}");
    }
    assert!(answered(&"a".repeat(LINE_BYTES_MAX + 1)).unwrap_err().contains("too long"));
}

#[test]
fn what_is_asked_is_what_the_protocol_says() {
    let secret = secret();
    let begin = request(&Setting::Begin(&secret, 7403));
    let key = hex(secret.bytes());
    let wanted =
        format!("set=1\nprivate_key={}\nlisten_port=7403\nreplace_peers=true\n\n", key.as_str());
    assert_eq!(*begin, wanted);
    let subnets = BTreeSet::from(["10.210.2.0/24".parse().unwrap()]);
    let peer = WirePeer { endpoint: "198.18.0.12:7403".parse().ok(), subnets };
    let two = "02".repeat(32);
    assert_eq!(
        *request(&Setting::Peer(&WireGuardKey([2; 32]), &peer)),
        format!(
            "set=1\npublic_key={two}\nendpoint=198.18.0.12:7403\nreplace_allowed_ips=true\n\
             allowed_ip=10.210.2.0/24\n\n"
        )
    );
    let gone = request(&Setting::NoPeer(&WireGuardKey([2; 32])));
    assert_eq!(*gone, format!("set=1\npublic_key={two}\nremove=true\n\n"));
    assert!(request(&Setting::Clear).contains(&format!("private_key={}\n", "0".repeat(64))));
}

#[tokio::test]
async fn where_no_program_listens_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("wrg-0123abcd.sock");
    assert_eq!(read(&socket).await, Ok(None));
    // One that was left by a program that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(read(&socket).await, Ok(None));
    let refused = set(&socket, &Setting::Clear).await.unwrap_err().to_string();
    assert!(refused.contains("no program is there"), "{refused}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("wrg-0123abcd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let babbles = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let line = "rx_bytes=1\n".repeat(1000);
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    };
    let (refused, ()) = tokio::join!(read(&socket), babbles);
    assert!(refused.unwrap_err().to_string().contains("has no end"));
}

proptest! {
    #[test]
    fn nothing_that_a_program_says_breaks_the_reader(text in "[a-z_]{0,12}=?[0-9a-f:./\n=é]{0,80}\n\n") {
        let _ = answered(&text);
    }

    #[test]
    fn pieces_make_the_same_as_the_whole(at in 0_usize..200) {
        let text = format!("listen_port=7\npublic_key={}\nallowed_ip=10.0.0.0/8\nerrno=0\n\n", "0a".repeat(32));
        let (first, second) = text.split_at(at.min(text.len()));
        let mut answer = Answer::default();
        let ended = answer.take(first.as_bytes()).unwrap();
        if !ended {
            prop_assert!(answer.take(second.as_bytes()).unwrap());
        }
        prop_assert_eq!(Ok(answer.settings), answered(&text));
    }
}
