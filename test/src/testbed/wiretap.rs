//! What somebody hears who sits at the switch between the machines.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::Testbed;

/// As large as a packet may be.
const PACKET_BYTES: usize = 64 * 1024;
/// How often it is asked whether that is enough.
const LOOK_MS: i64 = 50;

/// Hears every packet between the machines until it is asked what it heard.
pub struct Wiretap {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Heard>>,
}

/// What was heard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Packets in which the words were, in the clear.
    pub in_the_clear: usize,
    /// All packets.
    pub packets: usize,
}

impl Testbed {
    /// Begins to listen for these words at every port of the switch.
    ///
    /// # Errors
    /// Where the kernel lets nobody listen.
    pub fn wiretap(&self, words: &str) -> anyhow::Result<Wiretap> {
        let tap = {
            let _inside = self.enter()?;
            let (raw, all) = (SockType::Raw, SockProtocol::EthAll);
            socket(AddressFamily::Packet, raw, SockFlag::SOCK_CLOEXEC, all)?
        };
        setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK_MS))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, words) = (Arc::clone(&stop), words.as_bytes().to_vec());
        let thread = std::thread::spawn(move || {
            let mut heard = Heard::default();
            let mut packet = vec![0; PACKET_BYTES];
            loop {
                match recv(tap.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                    Ok(length) => {
                        heard.packets += 1;
                        let said = packet[..length].windows(words.len()).any(|part| part == words);
                        heard.in_the_clear += usize::from(said);
                    }
                    // Nothing more is waiting, so all that was sent before was heard.
                    Err(Errno::EAGAIN) if stopped.load(Ordering::Relaxed) => return Ok(heard),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        });
        Ok(Wiretap { stop, thread })
    }
}

impl Wiretap {
    /// Stops listening and tells.
    ///
    /// # Errors
    /// Where it could not listen.
    pub fn heard(self) -> anyhow::Result<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the tap panicked")?
    }
}
