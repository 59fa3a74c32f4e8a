//! One DNS question, as a resolver library would ask it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The server is on this machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// One packet there, one back.
    Udp,
    /// With a length before each message.
    Tcp,
}

/// Asks one question and gives the whole answer, whatever its code.
///
/// # Errors
/// Where no answer to this question comes in time.
pub async fn ask(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    over: Over,
) -> anyhow::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_str(name)?, kind));
    let packet = question.to_vec()?;
    let exchange = async {
        match over {
            Over::Udp => by_udp(server, &packet).await,
            Over::Tcp => by_tcp(server, &packet).await,
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, exchange)
        .await
        .with_context(|| format!("{server} does not answer for {name} over {over:?}"))??;
    let answer = Message::from_vec(&answer)?;
    ensure!(answer.metadata.id == question.metadata.id, "the answer is to another question");
    Ok(answer)
}

/// The addresses that a name has, in the order of the answer.
///
/// # Errors
/// As [`ask`].
pub async fn addresses(server: SocketAddr, name: &str) -> anyhow::Result<Vec<IpAddr>> {
    let answer = ask(server, name, RecordType::A, Over::Udp).await?;
    let addresses = answer.answers.iter().filter_map(|record| match record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    });
    Ok(addresses.collect())
}

async fn by_udp(server: SocketAddr, packet: &[u8]) -> anyhow::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

async fn by_tcp(server: SocketAddr, packet: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    stream.write_u16(u16::try_from(packet.len())?).await?;
    stream.write_all(packet).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
