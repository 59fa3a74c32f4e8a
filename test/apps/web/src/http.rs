//! As much of HTTP/1.1 as a demo server needs: requests with a length, answers with a length, kept connections.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::time::{Duration, Instant};

/// The request line and the headers together; enough for any client one meets, too little to hurt.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request body; `/echo` gives it back, so it is also the largest answer.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A client gets so long to send one whole request, so that a slow one cannot hold a thread for ever.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

/// One request, read whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// As sent, for instance `GET`.
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// Everything before the body, for `/echo`.
    pub(crate) head: String,
    /// Exactly as long as `Content-Length` says.
    pub(crate) body: Vec<u8>,
    /// Whether the client will send another one on this connection.
    pub(crate) keep_alive: bool,
}

/// Why a request is refused before any route sees it.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str);

/// Reads the next request; `buffer` holds what was read beyond the one before. `Ok(None)` where the client hung up
/// between requests.
pub(crate) fn read_request(
    stream: &mut impl Read,
    buffer: &mut Vec<u8>,
) -> Result<Option<std::result::Result<Request, Refusal>>> {
    let start = Instant::now();
    let head_end = loop {
        let end = find_head_end(buffer);
        if end.unwrap_or(buffer.len()) > HEAD_BYTES_MAX {
            return Ok(Some(Err(Refusal(431, "the request head is longer than 16 KiB"))));
        }
        if let Some(end) = end {
            break end;
        }
        if !read_more(stream, buffer, start)? {
            return Ok(None);
        }
    };
    let mut request = match parse_head(&buffer[..head_end]) {
        Ok(request) => request,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    let length = match body_length(&request.head) {
        Ok(length) => length,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    while buffer.len() < head_end + length {
        if !read_more(stream, buffer, start)? {
            return Ok(None);
        }
    }
    request.body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Ok(Some(Ok(request)))
}

fn read_more(stream: &mut impl Read, buffer: &mut Vec<u8>, start: Instant) -> Result<bool> {
    if start.elapsed() > REQUEST_TIME_MAX {
        return Err(Error::from(ErrorKind::TimedOut));
    }
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

fn find_head_end(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn parse_head(bytes: &[u8]) -> std::result::Result<Request, Refusal> {
    let head = std::str::from_utf8(bytes).map_err(|_| Refusal(400, "the head is not UTF-8"))?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal(400, "the request line is not `METHOD TARGET VERSION`"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(Refusal(505, "only HTTP/1 is spoken here"));
    }
    let connection = header(head, "connection").unwrap_or_default().to_ascii_lowercase();
    let keep_alive =
        if version == "HTTP/1.0" { connection == "keep-alive" } else { connection != "close" };
    Ok(Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        head: head.to_owned(),
        body: Vec::new(),
        keep_alive,
    })
}

fn body_length(head: &str) -> std::result::Result<usize, Refusal> {
    if header(head, "transfer-encoding").is_some() {
        return Err(Refusal(411, "send a Content-Length: chunked bodies are not read here"));
    }
    match header(head, "content-length").map(str::parse) {
        None => Ok(0),
        Some(Ok(length)) if length <= BODY_BYTES_MAX => Ok(length),
        Some(Ok(_)) => Err(Refusal(413, "the body is longer than 1 MiB")),
        Some(Err(_)) => Err(Refusal(400, "Content-Length is no number")),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Sent whole, with its length.
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: "application/json", body: body.into() }
    }

    /// Writes head and body in one go; a `HEAD` request gets the head alone.
    pub(crate) fn write(
        &self,
        stream: &mut impl Write,
        method: &str,
        version: &str,
        keep_alive: bool,
    ) -> Result<()> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Version: {version}\r\n\
             Connection: {}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        )
        .into_bytes();
        if method != "HEAD" {
            out.extend_from_slice(&self.body);
        }
        stream.write_all(&out)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Request, Refusal> {
        read_request(&mut text.as_bytes(), &mut Vec::new()).unwrap().expect("a request")
    }

    #[test]
    fn a_request_is_read_whole_and_the_next_one_after_it() {
        let text = "POST /items?x=1 HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiGET / HTTP/1.0\r\n\r\n";
        let (mut stream, mut buffer) = (text.as_bytes(), Vec::new());
        let first = read_request(&mut stream, &mut buffer).unwrap().unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/items"));
        assert_eq!(first.body, b"hi");
        assert!(first.keep_alive);
        let second = read_request(&mut stream, &mut buffer).unwrap().unwrap().unwrap();
        assert_eq!(second.method, "GET");
        assert!(!second.keep_alive);
        assert!(read_request(&mut stream, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
        assert_eq!(read(&long).unwrap_err().0, 431);
        assert_eq!(read("GET /\r\n\r\n").unwrap_err().0, 400);
        assert_eq!(read("GET / HTTP/2\r\n\r\n").unwrap_err().0, 505);
        assert_eq!(read("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n").unwrap_err().0, 400);
        assert_eq!(read("POST / HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n").unwrap_err().0, 413);
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(chunked).unwrap_err().0, 411);
    }

    #[test]
    fn an_answer_says_its_length() {
        let mut out = Vec::new();
        Response::text(201, "made").write(&mut out, "HEAD", "v1", true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 201 Created\r\n"));
        assert!(text.contains("Content-Length: 4\r\n"));
        assert!(text.ends_with("\r\n\r\n"), "a HEAD answer has no body");
    }
}
