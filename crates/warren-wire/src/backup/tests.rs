//! What a backup's file keeps, and what is refused.

use super::*;
use proptest::prelude::*;

/// Cheap parameters: what they cost is not what is tested.
fn header() -> Header {
    let (memory_kib, passes, lanes) = (8, 1, 1);
    let kdf = Kdf { memory_kib, passes, lanes, ..Kdf::generate().unwrap() };
    Header {
        cluster: "00000000000000ab".to_owned(),
        epoch: 3,
        index: 4_711,
        term: 9,
        node: "n1".to_owned(),
        made_unix_ms: 1_700_000_000_000,
        version: "0.1.0".to_owned(),
        kdf,
        sealed_bytes: 0,
    }
}

fn file(state: &[u8], passphrase: &[u8]) -> (Vec<u8>, SealKey) {
    let seal_key = SealKey::generate().unwrap();
    let state = Zeroizing::new(state.to_vec());
    let contents = Contents { seal_key: seal_key.clone(), state };
    (seal(header(), &contents, passphrase).unwrap(), seal_key)
}

/// The same file with a correct checksum.
fn signed(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() - DIGEST_BYTES);
    let digest = sha256(&file);
    file.extend(digest);
    file
}

/// The same file with something else in its header.
fn with_header(file: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let backup = Backup::read(file).unwrap();
    let (mut header, sealed) = (backup.header.clone(), backup.sealed);
    change(&mut header);
    let head = serde_json::to_vec(&header).unwrap();
    let mut other = MAGIC.to_vec();
    other.extend(FORMAT.to_le_bytes());
    other.extend(u32::try_from(head.len()).unwrap().to_le_bytes());
    other.extend(head);
    other.extend(sealed);
    other.extend([0; DIGEST_BYTES]);
    signed(other)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_in_comes_out_and_nothing_else(
        state in proptest::collection::vec(any::<u8>(), 0..2_000),
        passphrase in "[ -~]{8,40}",
        other in "[ -~]{8,40}",
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let (file, key) = file(&state, passphrase.as_bytes());
        let backup = Backup::read(&file).unwrap();
        prop_assert_eq!((backup.header.index, backup.header.epoch), (4_711, 3));
        let contents = backup.open(passphrase.as_bytes()).unwrap();
        prop_assert_eq!(&*contents.state, &state);
        prop_assert_eq!(contents.seal_key.to_text(), key.to_text());
        if other != passphrase {
            prop_assert_eq!(backup.open(other.as_bytes()).err(), Some(BackupError::Passphrase));
        }
        prop_assert!(!file.windows(64).any(|part| part == key.to_text().as_bytes()));
        let cut = at.index(file.len());
        prop_assert!(Backup::read(&file[..cut]).is_err());
        let mut wrong = file.clone();
        wrong[cut] ^= flip;
        prop_assert!(Backup::read(&wrong).is_err());
    }

    #[test]
    fn nothing_that_is_read_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Backup::read(&bytes).is_err());
        let mut begun = [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat();
        begun.extend(bytes);
        prop_assert!(Backup::read(&begun).is_err());
    }
}

#[test]
fn what_is_wrong_is_called_by_its_name() {
    let (file, _) = file(b"state", b"correct horse");
    let why = |bytes: &[u8]| Backup::read(bytes).unwrap_err();
    assert_eq!(why(b""), BackupError::Foreign);
    assert_eq!(why(b"PK\x03\x04 an archive"), BackupError::Foreign);
    assert!(matches!(why(&file[..10]), BackupError::Short { .. }));
    let cut = why(&file[..file.len() - 1]);
    assert_eq!(cut, BackupError::Short { found: file.len() - 1, wanted: file.len() });
    assert_eq!(why(&[&file[..], b"x"].concat()), BackupError::Long(1));
    let mut newer = file.clone();
    newer[8] = 2;
    assert_eq!(why(&newer), BackupError::TooNew { found: 2 });
    assert!(why(&newer).to_string().contains("format 2"));
    let mut damaged = file.clone();
    let middle = file.len() - DIGEST_BYTES - 3;
    damaged[middle] ^= 1;
    assert_eq!(why(&damaged), BackupError::Damaged);
    // Whoever can forge the checksum still does not get past the seal.
    let forged = signed(damaged);
    let opened = Backup::read(&forged).unwrap().open(b"correct horse");
    assert_eq!(opened.err(), Some(BackupError::Passphrase));
    let renamed = with_header(&file, |header| header.epoch = 1);
    let opened = Backup::read(&renamed).unwrap().open(b"correct horse");
    assert_eq!(opened.err(), Some(BackupError::Passphrase), "the header is sealed too");
}

#[test]
fn a_header_cannot_ask_for_all_memory_or_time() {
    type Change = fn(&mut Kdf);
    let (file, _) = file(b"state", b"correct horse");
    let changes: [(&str, Change); 5] = [
        ("kdf.memory_kib", |kdf| kdf.memory_kib = u32::MAX),
        ("kdf.passes", |kdf| kdf.passes = 1_000),
        ("kdf.lanes", |kdf| kdf.lanes = 1_000),
        ("kdf.salt", |kdf| kdf.salt = "zz".to_owned()),
        ("kdf.name", |kdf| kdf.name = "md5".to_owned()),
    ];
    for (name, change) in changes {
        let wrong = with_header(&file, |header| change(&mut header.kdf));
        let why = Backup::read(&wrong).unwrap().open(b"correct horse").err().unwrap();
        assert!(why.to_string().contains(name), "{name}: {why}");
    }
    let long = with_header(&file, |header| header.sealed_bytes = u64::MAX);
    assert!(Backup::read(&long).is_err());
}

#[test]
fn a_passphrase_is_neither_a_word_nor_a_book() {
    for (length, good) in [(0, false), (7, false), (8, true), (1_024, true), (1_025, false)] {
        assert_eq!(check_passphrase(&vec![b'x'; length]).is_ok(), good, "{length}");
    }
    let (file, _) = file(b"", b"correct horse");
    let short = Backup::read(&file).unwrap().open(b"short").err();
    assert_eq!(short, Some(BackupError::PassphraseLength(5)));
    let kdf = Kdf::generate().unwrap();
    assert!(kdf.memory_kib >= 64 << 10 && kdf.passes >= 3, "RFC 9106 asks for as much");
}
