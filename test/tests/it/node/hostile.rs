//! Strangers at every port of a node: nonsense, silence, and more connections than anybody needs. The node serves
//! those that it knows all the while, and takes no more memory than it has limits for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hickory_proto::rr::RecordType;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use warren_test::cluster::{Node, Runtime};
use warren_test::dns::{self, Over};
use warren_test::{http, wait};
use warren_wire::channel::connect_stranger;
use warren_wire::status::RETRY_AFTER;
use warren_wire::trust::{NodeKey, install_provider};
use warren_wire::v1;
use warren_wire::v1::membership_client::MembershipClient;
use warren_wire::v1::services_client::ServicesClient;

use super::SOON;

/// Connections of the test with many: more than the port takes from all addresses together.
const MANY: usize = 10_000;
/// Guests that the port keeps of one address, as `warren-manager` has it.
const OF_ADDRESS_MAX: usize = 256;
/// More memory than all connections may cost that a node takes: 64 KiB each.
const GROWTH_BYTES_MAX: u64 = 192 << 20;
/// Bytes are dripped so far apart.
const DRIP: Duration = Duration::from_millis(300);

/// A node with a client that it knows.
struct Known {
    node: Node,
    authority: String,
    token: String,
}

impl Known {
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        install_provider();
        let node = Node::start_with(Runtime::Process, arguments).await?;
        let authority = std::fs::read_to_string(node.data_dir().join("pki/authority.crt"))?;
        let token = Self::token_of(&node, "ann").await?;
        Ok(Self { node, authority, token })
    }

    async fn token_of(node: &Node, name: &str) -> anyhow::Result<String> {
        let token = node.ok(&["token", "create", name, "--role", "viewer", "--quiet"]).await?;
        let (_, secret) = token.trim().rsplit_once('-').context("a token ends with its secret")?;
        Ok(secret.to_owned())
    }

    async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(connect_stranger(self.node.listen(), &self.authority).await?)
    }

    fn port(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.node.listen().parse()?)
    }

    /// Whether everything that the node serves is served.
    async fn serves(&self) -> anyhow::Result<()> {
        list(self.channel().await?, &self.token).await?;
        let (status, _) = http::get(self.node.http_address()?, "/readyz").await?;
        ensure!(status == 200, "/readyz says {status}");
        for over in [Over::Udp, Over::Tcp] {
            dns::ask(self.node.dns_address()?, "nobody.warren.", RecordType::A, over).await?;
        }
        self.node.ok(&["status"]).await?;
        Ok(())
    }

    /// The memory that the node's process has, in bytes.
    fn memory(&self) -> anyhow::Result<u64> {
        let pid = self.node.run()?["pid"].as_u64().context("a pid")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib * 1024)
    }

    fn grew_little(&self, before: u64) -> anyhow::Result<()> {
        let after = self.memory()?;
        warren_test::say(&format!("memory: {} MiB, then {} MiB", before >> 20, after >> 20));
        ensure!(after < before + GROWTH_BYTES_MAX, "{before} bytes before, {after} bytes after");
        Ok(())
    }
}

async fn list(channel: Channel, token: &str) -> Result<(), Status> {
    let mut request = Request::new(v1::ListServicesRequest {});
    let value: MetadataValue<_> = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    ServicesClient::new(channel).list_services(request).await.map(drop)
}

/// A connection from an address of this machine that nobody else has.
async fn connect_from(host: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    socket.connect(to).await
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The beginnings of what a port could be spoken to, with nonsense after them.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"GET / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    // A TLS record that says it has 16 KiB, and one of a client's first words.
    b"\x16\x03\x01\x40\x00",
    b"\x16\x03\x01\x00\x04\x01\x00\xff\xff",
    // A DNS message over TCP that says it has 4 KiB.
    b"\x10\x00\x00\x01\x01\x00",
];

#[tokio::test]
async fn nonsense_at_every_port_changes_nothing() {
    nonsense().await.unwrap();
}

async fn nonsense() -> anyhow::Result<()> {
    let known = Known::start(&[]).await?;
    let before = known.memory()?;
    let ports = [known.port()?, known.node.http_address()?, known.node.dns_address()?];
    for seed in 0..60 {
        for port in ports {
            for beginning in BEGINNINGS {
                let mut stream = TcpStream::connect(port).await?;
                let length = 1 << (seed % 15);
                // A port that hears enough of it closes: the rest cannot be said then.
                let _ = stream.write_all(beginning).await;
                let _ = stream.write_all(&noise(seed, length)).await;
            }
        }
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        for length in [0, 1, 11, 12, 17, 100, 512, 1400, 9000] {
            udp.send_to(&noise(seed, length), known.node.dns_address()?).await?;
        }
    }
    known.serves().await?;
    known.grew_little(before)
}

/// How far somebody goes before they stop.
#[derive(Clone, Copy, Debug)]
enum Stops {
    AtOnce,
    /// In the middle of a first word.
    HalfWay,
    /// Never, one byte at a time.
    Dripping,
}

#[tokio::test]
async fn who_says_nothing_or_half_a_word_is_cut_off_at_every_port() {
    silence().await.unwrap();
}

async fn silence() -> anyhow::Result<()> {
    let known = Known::start(&[]).await?;
    // A client's hello of 512 bytes, a request with headers that do not end, a query of 512 bytes.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0; 400]].concat();
    let request = [&b"GET /metrics HTTP/1.1\r\nx: "[..], &[b'x'; 400]].concat();
    let query = [&b"\x02\x00"[..], &[0; 400]].concat();
    let ports = [
        ("port", known.port()?, hello),
        ("http", known.node.http_address()?, request),
        ("dns", known.node.dns_address()?, query),
    ];
    let mut waiting = Vec::new();
    for (name, port, words) in ports {
        for stops in [Stops::AtOnce, Stops::HalfWay, Stops::Dripping] {
            for _ in 0..8 {
                let stream = TcpStream::connect(port).await?;
                waiting.push(until_cut(name, stops, stream, words.clone()));
            }
        }
    }
    // One who speaks TLS and then nothing.
    let mut half_open = tls(&known).await?;
    let tls_cut = async {
        let read = timeout(SOON, half_open.read(&mut [0; 64])).await;
        // A server's first frame may come before the end.
        let read = if matches!(read, Ok(Ok(1..))) {
            timeout(SOON, half_open.read(&mut [0; 64])).await
        } else {
            read
        };
        ensure!(matches!(read, Ok(Ok(0) | Err(_))), "a silent client of TLS is not cut: {read:?}");
        Ok(())
    };
    let all = futures::future::try_join_all(waiting);
    let (_, (), ()) = tokio::try_join!(all, tls_cut, known.serves())?;
    known.serves().await
}

async fn until_cut(
    name: &str,
    stops: Stops,
    mut stream: TcpStream,
    words: Vec<u8>,
) -> anyhow::Result<()> {
    match stops {
        Stops::AtOnce => {}
        Stops::HalfWay => stream.write_all(&words[..words.len() / 2]).await?,
        Stops::Dripping => {
            for byte in &words {
                match timeout(DRIP, stream.read(&mut [0; 512])).await {
                    Ok(Ok(0) | Err(_)) => return Ok(()),
                    // An answer to half a word: refused, and closed next.
                    Ok(Ok(_)) => {}
                    Err(_) if stream.write_all(&[*byte]).await.is_err() => return Ok(()),
                    Err(_) => {}
                }
            }
            anyhow::bail!("{name}: {} bytes were taken one by one", words.len());
        }
    }
    loop {
        let read = timeout(SOON, stream.read(&mut [0; 512])).await;
        match read.with_context(|| format!("{name}: {stops:?} is not cut"))? {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// A connection with TLS on which nothing is said after that.
async fn tls(known: &Known) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    tls_from(known, 1).await
}

async fn tls_from(
    known: &Known,
    host: u8,
) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(known.authority.as_bytes())?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(warren_wire::trust::MANAGER_NAME)?;
    let stream = connect_from(host, known.port()?).await?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

#[tokio::test]
async fn thousands_of_idle_connections_keep_nobody_out() {
    let test = "thousands_of_idle_connections_keep_nobody_out";
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if files < MANY as u64 + 1_000 {
        let why = format!("a process may have {files} files open here, and {MANY} are needed");
        return warren_test::skip(&format!("{}::{test}", module_path!()), &why);
    }
    thousands().await.unwrap();
}

async fn thousands() -> anyhow::Result<()> {
    let known = Known::start(&[]).await?;
    let before = known.memory()?;
    let mut silent = Vec::with_capacity(MANY);
    for number in 0..MANY {
        silent.push(connect_from(2, known.port()?).await?);
        if number % 1_000 == 999 {
            known.serves().await.with_context(|| known.node.log_end())?;
        }
    }
    still_open(&silent).await?;
    known.grew_little(before)?;
    // Those that got as far as they can come without being known.
    let mut secure = Vec::new();
    for _ in 0..OF_ADDRESS_MAX + 40 {
        secure.push(tls_from(&known, 3).await?);
    }
    let open = || secure.iter().map(|stream| stream.get_ref().0);
    wait::until("one address has its share", SOON, async || count_open(open())).await?;
    // At the same address as those that hold on to all of it, somebody known gets in all the same.
    let token = &known.token;
    let mut same = connect_from(2, known.port()?).await?;
    ensure!(timeout(DRIP, same.read(&mut [0; 1])).await.is_err(), "a new one is taken");
    list(known.channel().await?, token).await?;
    let (_, page) = http::get(known.node.http_address()?, "/metrics").await?;
    let counted = page.lines().any(|line| {
        line.starts_with("warren_connections_cut_total{reason=\"displaced\"}")
            && !line.ends_with(" 0")
    });
    ensure!(counted, "it is counted: {page}");
    known.grew_little(before)
}

async fn still_open(streams: &[TcpStream]) -> anyhow::Result<()> {
    wait::until("one address has its share", SOON, async || count_open(streams.iter())).await
}

/// That no more are open than one address may have.
fn count_open<'a>(streams: impl Iterator<Item = &'a TcpStream>) -> anyhow::Result<()> {
    let is_open = |stream: &&TcpStream| {
        let mut word = [0; 4096];
        loop {
            match stream.try_read(&mut word) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let open = streams.filter(is_open).count();
    ensure!(open <= OF_ADDRESS_MAX, "{open} are open");
    Ok(())
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_call_again_and_nobody_else_is() {
    too_often().await.unwrap();
}

async fn too_often() -> anyhow::Result<()> {
    let known = Known::start(&["--calls-per-second", "5"]).await?;
    let other = Known::token_of(&known.node, "bob").await?;
    let channel = known.channel().await?;
    let refused = first_refusal(async || list(channel.clone(), &known.token).await).await?;
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    let told = refused.message();
    ensure!(told.contains("ann makes more than 5 calls a second"), "{told}");
    ensure!(told.contains("try again in"), "{told}");
    let wait = refused.metadata().get(RETRY_AFTER).context("when to try again")?;
    let wait_ms: u64 = wait.to_str()?.parse()?;
    ensure!((1..=201).contains(&wait_ms), "{wait_ms} ms");
    list(channel.clone(), &other).await?;
    for _ in 0..20 {
        known.node.ok(&["node", "ls"]).await?;
    }
    wait::until("it may call again", SOON, async || Ok(list(channel.clone(), &known.token).await?))
        .await
}

#[tokio::test]
async fn tokens_cannot_be_guessed_one_after_the_other() {
    guessing().await.unwrap();
}

async fn guessing() -> anyhow::Result<()> {
    let known = Known::start(&[]).await?;
    let channel = known.channel().await?;
    let key = NodeKey::generate()?;
    let hello = v1::Hello {
        key: key.fingerprint().to_string(),
        hostname: "guest".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST).to_string(),
        platform: "linux/amd64".to_owned(),
        runtime: "process".to_owned(),
        version: "0".to_owned(),
        ..v1::Hello::default()
    };
    let mut guess = 0_u128;
    let refused = first_refusal(async || {
        guess += 1;
        if guess.is_multiple_of(2) {
            return list(channel.clone(), &format!("{guess:032x}")).await;
        }
        let request = v1::JoinRequest {
            secret: format!("{guess:032x}"),
            certificate_request: key.request().expect("a request"),
            hello: Some(hello.clone()),
        };
        MembershipClient::new(channel.clone()).join(request).await.map(drop)
    });
    let refused = refused.await?;
    let told = refused.message();
    ensure!(told.contains("came from 127.0.0.1") && told.contains("try again in"), "{told}");
    ensure!((10..=20).contains(&guess), "{guess} guesses");
    // Who knows a token cannot tell from a guess whether it is right; root of the machine needs none.
    let right = list(channel.clone(), &known.token).await;
    ensure!(right.is_err_and(|status| status.code() == Code::ResourceExhausted));
    known.node.ok(&["node", "ls"]).await?;
    Ok(())
}

/// Calls until it is too often.
async fn first_refusal(
    mut call: impl AsyncFnMut() -> Result<(), Status>,
) -> anyhow::Result<Status> {
    for _ in 0..1_000 {
        if let Err(status) = call().await
            && status.code() == Code::ResourceExhausted
        {
            return Ok(status);
        }
    }
    anyhow::bail!("1,000 calls were none too many")
}
