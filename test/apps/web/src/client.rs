//! `web get`: one request, for containers that hold nothing else to make one with.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::resolve;

/// Opening a connection; in one cluster anything longer is a fault.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two reads of the answer.
const READ_TIME_MAX: Duration = Duration::from_secs(30);
/// The whole answer; it is printed, so a larger one is a mistake.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What came back.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Fetches `http://HOST[:PORT][/PATH]` from the first address of the host that accepts a connection.
pub(crate) fn get(url: &str) -> Result<Answer> {
    let (host, port, path) = split(url)?;
    let mut last = Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in resolve::addresses(host)? {
        let address = SocketAddr::from((address, port));
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(stream) => return exchange(stream, host, path),
            Err(error) => last = Error::new(error.kind(), format!("{host} ({address}): {error}")),
        }
    }
    Err(last)
}

fn split(url: &str) -> Result<(&str, u16, &str)> {
    let wrong = |why: &str| Error::new(ErrorKind::InvalidInput, format!("`{url}`: {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("a URL starts with http://"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    if host.is_empty() {
        return Err(wrong("there is no host in it"));
    }
    Ok((host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?, path))
}

fn exchange(mut stream: TcpStream, host: &str, path: &str) -> Result<Answer> {
    stream.set_read_timeout(Some(READ_TIME_MAX))?;
    stream.set_write_timeout(Some(READ_TIME_MAX))?;
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: web\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| Error::new(ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: bytes[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        assert_eq!(split("http://web:8080/a?b").unwrap(), ("web", 8080, "/a?b"));
        assert_eq!(split("http://web").unwrap(), ("web", 80, "/"));
        for wrong in ["web:8080", "http://:80/", "http://web:http/", "https://web/"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 503 No\r\na: b\r\n\r\nbody").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"body"[..]));
        assert_eq!(parse(b"SSH-2.0"), None);
    }
}
