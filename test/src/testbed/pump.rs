//! How fast a path is: bytes pushed through one TCP connection, and a byte sent there and back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Namespace;

/// What one write or read moves: large enough that the calls themselves cost little.
const CHUNK: usize = 128 * 1024;
/// On one machine nothing takes so long.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What a path gave.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Bytes per second in one direction.
    pub bytes_per_second: f64,
    /// The middle of all round trips of one byte.
    pub round_trip: Duration,
}

/// The first byte of a connection whose bytes are to be sent back.
const ECHO: u8 = b'e';
/// The first byte of one whose bytes are only to be taken.
const TAKE: u8 = b't';

/// One side that takes what comes or sends it back, as the connection's first byte asks.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    thread: Option<JoinHandle<anyhow::Result<Vec<SocketAddr>>>>,
}

impl Sink {
    /// Listens in a namespace at an address and takes so many connections, one after the other.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub fn open(at: &Namespace, address: SocketAddrV4, connections: usize) -> anyhow::Result<Self> {
        let listener = {
            let _inside = at.enter()?;
            TcpListener::bind(address).with_context(|| address.to_string())?
        };
        let address = listener.local_addr()?;
        let thread = std::thread::spawn(move || serve(&listener, connections));
        Ok(Self { address, thread: Some(thread) })
    }

    /// Waits for the last connection's end and gives from where each of them seemed to come.
    ///
    /// # Errors
    /// Where one broke.
    pub fn seen(mut self) -> anyhow::Result<Vec<SocketAddr>> {
        let thread = self.thread.take().context("asked once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the sink panicked"))?
    }
}

fn serve(listener: &TcpListener, connections: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let mut seen = Vec::new();
    let mut chunk = vec![0; CHUNK];
    for _ in 0..connections {
        let (mut stream, from) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIME_MAX))?;
        seen.push(from);
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        loop {
            let length = match stream.read(&mut chunk) {
                // The end of some child of the test's: a read with a time limit is not taken up again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if length == 0 {
                break;
            }
            if kind == [ECHO] {
                stream.write_all(&chunk[..length])?;
            }
        }
        // A last byte says that all has arrived; who has gone does not want it.
        let _ = stream.write_all(&[0]);
    }
    Ok(seen)
}

/// Whether one byte goes from a namespace to a [`Sink`] and back within `patience`; it takes one connection of it.
///
/// # Errors
/// Where it does not.
pub fn echo(from: &Namespace, to: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let mut stream = connect(from, to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&[ECHO, 1])?;
    Ok(stream.read_exact(&mut [0])?)
}

/// Says these words from a namespace to a [`Sink`] and hears them again; it takes one connection of it.
///
/// # Errors
/// Where they do not come back.
pub fn say(
    from: &Namespace,
    to: SocketAddr,
    words: &str,
    patience: Duration,
) -> anyhow::Result<()> {
    let mut stream = connect(from, to, patience)?;
    stream.write_all(&[&[ECHO], words.as_bytes()].concat())?;
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back)?;
    anyhow::ensure!(back == words.as_bytes(), "other words came back");
    Ok(())
}

/// Connects from a namespace.
///
/// # Errors
/// Where nothing answers within `patience`.
pub fn connect(from: &Namespace, to: SocketAddr, patience: Duration) -> anyhow::Result<TcpStream> {
    let stream = {
        let _inside = from.enter()?;
        TcpStream::connect_timeout(&to, patience)?
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIME_MAX))?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    Ok(stream)
}

/// Measures the path to a [`Sink`], which it takes two connections of.
///
/// # Errors
/// Where the path breaks.
pub fn measure(from: &Namespace, to: SocketAddr, bytes: usize) -> anyhow::Result<Figures> {
    const TRIPS: usize = 500;
    let mut stream = connect(from, to, TIME_MAX)?;
    stream.write_all(&[ECHO])?;
    let mut byte = [0];
    let mut trips = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let start = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        trips.push(start.elapsed());
    }
    drop(stream);
    trips.sort_unstable();

    let mut stream = connect(from, to, TIME_MAX)?;
    stream.write_all(&[TAKE])?;
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    for _ in 0..bytes.div_ceil(CHUNK) {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut byte)?;
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read by people")]
    let moved = (bytes.div_ceil(CHUNK) * CHUNK) as f64;
    Ok(Figures {
        bytes_per_second: moved / start.elapsed().as_secs_f64(),
        round_trip: trips[TRIPS / 2],
    })
}
