//! A queue of items that a worker takes off: something real for a functional probe to make and a gauge to watch.

use std::sync::Mutex;

/// Beyond this the server refuses items, so that a stalled queue shows as errors before it eats the memory.
const QUEUED_MAX: usize = 10_000;

#[derive(Default)]
struct Queue {
    made: u64,
    queued: usize,
}

/// The queue; only its length matters, so only that is kept.
#[derive(Default)]
pub(crate) struct Items {
    queue: Mutex<Queue>,
}

impl Items {
    /// Takes an item in and gives its number and the depth of the queue; `None` where the queue is full.
    pub(crate) fn add(&self) -> Option<(u64, usize)> {
        let mut queue = self.queue.lock().expect("no holder panics");
        if queue.queued == QUEUED_MAX {
            return None;
        }
        queue.made += 1;
        queue.queued += 1;
        Some((queue.made, queue.queued))
    }

    /// Works off at most `count` items.
    pub(crate) fn work_off(&self, count: usize) {
        let mut queue = self.queue.lock().expect("no holder panics");
        queue.queued = queue.queued.saturating_sub(count);
    }

    /// How many wait.
    pub(crate) fn depth(&self) -> usize {
        self.queue.lock().expect("no holder panics").queued
    }
}
