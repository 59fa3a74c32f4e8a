//! Waits for the signals that ask a process to end.

use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{SigSet, Signal};

/// Yields one value for each SIGTERM or SIGINT from now on. To be called before any other thread starts: a thread
/// inherits the mask that keeps the signals from ending the process at once. That mask is also what lets the first
/// process of a container, which has no default action for them, hear them at all.
pub(crate) fn receive() -> Receiver<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    let blocked = set.thread_block();
    let (sender, receiver) = channel();
    std::thread::spawn(
        move || {
            while blocked.is_ok() && set.wait().is_ok() && sender.send(()).is_ok() {}
        },
    );
    receiver
}
