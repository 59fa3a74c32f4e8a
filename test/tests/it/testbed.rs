//! The testbed itself: machines hear each other, cuts cut and heal, one way is one way, and nothing stays behind.

use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use tokio::net::UdpSocket;
use warren_test::cluster::Runtime;
use warren_test::testbed::clock::Clock;
use warren_test::testbed::pump::{self, Sink};
use warren_test::testbed::{Plan, Testbed};
use warren_test::{binary, testbed, wait};

/// Far more than a packet on one machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a packet that is dropped is waited for.
const BRIEF: Duration = Duration::from_millis(300);
/// Long for anything here.
const SOON: Duration = Duration::from_secs(30);

fn or_skip<T>(test: &str, outcome: anyhow::Result<T>) -> Option<T> {
    testbed::or_skip(&format!("{}::{test}", module_path!()), outcome)
}

/// Sends packets from one machine to another until one comes or `patience` ends, without any answer, and says whether
/// one came.
async fn heard(bed: &Testbed, from: usize, to: usize, patience: Duration) -> anyhow::Result<bool> {
    let socket_in = |index: usize| {
        let machine = bed.machine(index);
        let _inside = machine.namespace.enter()?;
        let socket = std::net::UdpSocket::bind((machine.address, 0))?;
        socket.set_nonblocking(true)?;
        Ok::<_, anyhow::Error>(UdpSocket::from_std(socket)?)
    };
    let (sender, receiver) = (socket_in(from)?, socket_in(to)?);
    sender.connect(receiver.local_addr()?).await?;
    let mut packet = [0; 8];
    let arrives = async {
        loop {
            sender.send(b"hear me").await?;
            if let Ok(got) = tokio::time::timeout(BRIEF / 3, receiver.recv(&mut packet)).await {
                return got;
            }
        }
    };
    match tokio::time::timeout(patience, arrives).await {
        Ok(got) => Ok(got? == 7),
        Err(_) => Ok(false),
    }
}

/// These machines hear each other, as (from, to), and no others.
async fn hear(bed: &Testbed, wanted: &[(usize, usize)]) -> anyhow::Result<()> {
    for (from, to) in ALL {
        let hears = wanted.contains(&(from, to));
        let patience = if hears { PATIENCE } else { BRIEF };
        let heard = heard(bed, from, to, patience).await?;
        ensure!(heard == hears, "from {from} to {to}: {heard}");
    }
    Ok(())
}

const ALL: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];

async fn machines_hear_each_other_as_cuts_let_them(links: usize) -> anyhow::Result<()> {
    let test = "machines_hear_each_other_as_cuts_let_them";
    let built = Testbed::build(Plan { links, ..Plan::machines(3) }).await;
    let Some(bed) = or_skip(test, built) else { return Ok(()) };
    hear(&bed, &ALL).await?;
    // And by TCP, from the place where tests are as well.
    let address = SocketAddrV4::new(bed.machine(1).address, 0);
    let sink = Sink::open(&bed.machine(1).namespace, address, 2)?;
    pump::echo(&bed.machine(0).namespace, sink.address, PATIENCE)?;
    let _inside = bed.enter()?;
    std::net::TcpStream::connect_timeout(&sink.address, PATIENCE)?;
    drop(sink);

    bed.cut(0, 1)?;
    let but_one: Vec<_> = ALL.into_iter().filter(|pair| *pair != (0, 1)).collect();
    hear(&bed, &but_one).await?;
    bed.heal()?;
    hear(&bed, &ALL).await?;

    bed.part(&[2])?;
    hear(&bed, &[(0, 1), (1, 0)]).await?;
    bed.heal()?;
    hear(&bed, &ALL).await?;
    Ok(())
}

#[tokio::test]
async fn machines_of_one_link_hear_each_other_as_cuts_let_them() {
    machines_hear_each_other_as_cuts_let_them(1).await.unwrap();
}

#[tokio::test]
async fn machines_of_different_links_hear_each_other_as_cuts_let_them() {
    machines_hear_each_other_as_cuts_let_them(3).await.unwrap();
}

/// What of a testbed can be seen from outside.
fn traces(id: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in ["/run/netns", "/tmp"] {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            found.push(entry?.path().display().to_string());
        }
    }
    found.push(std::fs::read_to_string("/proc/self/mounts")?);
    found.retain(|text| text.contains(id));
    Ok(found)
}

#[tokio::test]
async fn nothing_of_a_testbed_stays() {
    let test = "nothing_of_a_testbed_stays";
    let Some(bed) = or_skip(test, Testbed::build(Plan::machines(1)).await) else { return };
    let machine = bed.machine(0);
    let id = machine.folder().parent().unwrap().file_name().unwrap().to_owned();
    let id = id.to_str().unwrap();
    assert!(traces(id).unwrap().len() >= 3, "{:?}", traces(id));
    // A node with tasks, and one more process that nobody will wait for.
    let inside = machine.namespace.enter().unwrap();
    let mut node = machine.node(Runtime::Process, &[]).unwrap();
    node.resume().await.unwrap();
    let program = binary::web().unwrap();
    let mut orphan = Command::new(program).env("PORT", "1080").spawn().unwrap();
    let mounted = machine.folder().join("disk");
    std::fs::create_dir(&mounted).unwrap();
    let disk = testbed::disk::Disk::mount(&mounted);
    std::mem::forget(disk);
    drop(inside);
    drop(bed);
    assert_eq!(traces(id).unwrap(), Vec::<String>::new());
    let ended = orphan.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "{ended}");
    // Its threads end one after the other; only after the last one can it be waited for.
    wait::until("the node has ended", SOON, async || {
        anyhow::ensure!(node.has_ended()?, "a thread of it still ends");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_a_killed_test_left_is_swept() {
    let test = "what_a_killed_test_left_is_swept";
    let Some(bed) = or_skip(test, Testbed::build(Plan::machines(1)).await) else { return };
    let folder = bed.machine(0).folder().parent().unwrap().to_owned();
    let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
    bed.leave_standing();
    testbed::sweep().unwrap();
    assert!(!traces(&id).unwrap().is_empty(), "its owner lives");
    // As of a process that had this number before.
    std::fs::write(folder.join("owner"), format!("{} 1", std::process::id())).unwrap();
    testbed::sweep().unwrap();
    assert_eq!(traces(&id).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_machine_sends_can_be_held_back() {
    let test = "what_a_machine_sends_can_be_held_back";
    let Some(bed) = or_skip(test, Testbed::build(Plan::machines(2)).await) else { return };
    let by = Duration::from_millis(20);
    if or_skip(test, bed.delay(0, by)).is_none() {
        return;
    }
    let address = SocketAddrV4::new(bed.machine(1).address, 0);
    let sink = Sink::open(&bed.machine(1).namespace, address, 1).unwrap();
    let start = std::time::Instant::now();
    pump::echo(&bed.machine(0).namespace, sink.address, PATIENCE).unwrap();
    assert!(start.elapsed() >= by, "{:?}", start.elapsed());
}

async fn hangs_and_dies(bed: &Testbed) -> anyhow::Result<()> {
    let _inside = bed.enter()?;
    let machine = bed.machine(0);
    let mut node = machine.node(Runtime::Process, &[])?;
    node.resume().await?;
    let http = node.http_address()?;
    ensure!(http.ip() == machine.address, "{http} is the machine's");
    let answers = async || warren_test::http::get(http, "/readyz").await;
    node.hang(true)?;
    let silence = tokio::time::timeout(BRIEF, answers()).await;
    ensure!(silence.is_err(), "a node that hangs says nothing: {silence:?}");
    node.hang(false)?;
    wait::until("it answers again", SOON, async || {
        let (status, report) = answers().await?;
        ensure!(status == 200, "{report}");
        Ok(())
    })
    .await?;
    node.crash()?;
    ensure!(answers().await.is_err());
    node.resume().await
}

#[tokio::test]
async fn a_node_in_a_machine_hangs_dies_and_comes_back() {
    let test = "a_node_in_a_machine_hangs_dies_and_comes_back";
    let Some(bed) = or_skip(test, Testbed::build(Plan::machines(1)).await) else { return };
    hangs_and_dies(&bed).await.unwrap();
}

/// The seconds since 1970 that a program reads.
fn reads(clock: &Clock) -> anyhow::Result<u64> {
    let output = Command::new("date").arg("+%s").envs(clock.environment()).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

#[test]
fn a_clock_can_be_stepped() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = or_skip("a_clock_can_be_stepped", Clock::make(folder.path())) else { return };
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for step in [0, 3_600, -86_400] {
        clock.show(step).unwrap();
        let wanted = now().checked_add_signed(step).context("after 1970").unwrap();
        assert!(reads(&clock).unwrap().abs_diff(wanted) <= 2, "{step}");
    }
}
