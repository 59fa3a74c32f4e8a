//! The side of the agent that talks with the leader: what it has been told, what it owes an answer to.

use super::link::{Link, beat_every, role_named};
use super::word::{Word, agreed};
use super::{Publish, floor::Floor, floor::Outcome};
use crate::book::{Book, Refusal};
use crate::cache::{Cached, Membership};
use crate::images::{self, Recent};
use crate::load::LoadMeter;
use crate::outbox::Outbox;
use crate::relay::{Placed, Relays};
use crate::session::Event;
use crate::witness::Witness;
use crate::{Options, metrics};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use warren_core::ClusterId;
use warren_core::converge::Sweep;
use warren_core::id::{NodeId, TaskId};
use warren_core::time::Tick;
use warren_core::traffic::TrafficView;
use warren_wire::channel::Target;
use warren_wire::convert::{text, traffic};
use warren_wire::v1::agent_message::Message as ToManager;
use warren_wire::v1::manager_message::Message;
use warren_wire::v1::{self, AgentMessage};

/// The session protocol that this agent speaks.
const PROTOCOL: u32 = 1;

/// What the leader said, and what it is to hear.
pub(super) struct Desk {
    options: Options,
    boot: u64,
    pub(super) book: Book,
    pub(super) membership: Option<Membership>,
    /// Whether containers that nobody assigned may go.
    pub(super) sweep: Sweep,
    /// The cluster was restored since this node heard of it last.
    strange: bool,
    /// The fingerprint of the view of where traffic goes that is published.
    traffic_digest: [u8; 32],
    /// A view of where traffic goes that has not come as a whole.
    coming: Option<TrafficView>,
    /// The epoch that the resolver answers with.
    resolved: u64,
    /// The last assignments that came were not taken over.
    apart: bool,
    /// Why a list of assignments is not taken over.
    held_full: String,
    /// Why strays are left alone.
    held_strays: String,
    pub(super) outbox: Outbox,
    link: Option<Link>,
    /// When the last beat was sent that a leader answered.
    answered: Tick,
    pub(super) word: Word,
    pub(super) relays: Relays,
    witness: Witness,
    load: LoadMeter,
    pub(super) recent: Recent,
    known_managers: Vec<String>,
    /// Why there is no session, as it was last told.
    refused: String,
    publish: Publish,
    places: watch::Sender<Arc<BTreeMap<TaskId, Placed>>>,
    hello: watch::Sender<v1::Hello>,
    keep: watch::Sender<Arc<Cached>>,
}

impl Desk {
    pub(super) fn new(
        options: Options,
        boot: u64,
        cached: &Cached,
        publish: Publish,
        keep: watch::Sender<Arc<Cached>>,
    ) -> Self {
        let (places, places_news) = watch::channel(Arc::default());
        let (hello, _) = watch::channel(v1::Hello::default());
        publish.traffic.send_replace(Arc::clone(&cached.traffic));
        publish.membership.send_replace(cached.membership.clone());
        let desk = Self {
            witness: Witness::new(options.dialer.clone()),
            options,
            boot,
            book: Book::new(cached.revision, Arc::clone(&cached.assignments)),
            membership: cached.membership.clone(),
            sweep: Sweep::Hold,
            strange: false,
            traffic_digest: cached.traffic.digest(),
            coming: None,
            resolved: 0,
            apart: false,
            held_full: String::new(),
            held_strays: String::new(),
            outbox: Outbox::default(),
            link: None,
            answered: Tick::default(),
            word: Word::default(),
            relays: Relays::new(places_news),
            load: LoadMeter::default(),
            recent: cached.images.clone(),
            known_managers: cached.managers.clone(),
            refused: String::new(),
            publish,
            places,
            hello,
            keep,
        };
        desk.say_who();
        desk
    }

    pub(super) fn hello(&self) -> watch::Receiver<v1::Hello> {
        self.hello.subscribe()
    }

    pub(super) fn managers(&self) -> watch::Receiver<Vec<Target>> {
        self.publish.managers.subscribe()
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// When the last beat was sent that a leader answered; the start of the agent before the first.
    pub(super) const fn answered(&self) -> Tick {
        self.answered
    }

    pub(super) fn network_is(&self, network: warren_drivers::runtime::NetworkSpec) {
        self.publish.network.send_replace(Some(network));
    }

    /// When something is to be said even if nothing happens.
    pub(super) fn wake_at(&self) -> Option<Tick> {
        let link = self.link.as_ref()?;
        self.outbox.wake_at().into_iter().chain([link.next_beat]).min()
    }

    /// The resolver answers from `epoch` on, or from the newest where that is older.
    pub(super) fn resolver_answers(&mut self, epoch: u64, now: Tick) {
        let epoch = epoch.min(self.publish.traffic.borrow().epoch);
        self.word.publish(epoch, now, &self.publish.word);
        if self.resolved != epoch {
            self.resolved = epoch;
            if let Some(link) = &mut self.link {
                link.owes_traffic = true;
            }
        }
    }

    pub(super) fn handle(&mut self, event: Event, floor: &Floor, now: Tick) {
        match event {
            Event::Connected { welcome, outbound } => self.connected(*welcome, outbound, now),
            Event::Disconnected(why) => self.disconnected(&why),
            Event::Message(message) if self.link.is_some() => self.message(message, floor, now),
            // The session was refused by this side and is about to end.
            Event::Message(_) => {}
        }
    }

    fn connected(&mut self, welcome: v1::Welcome, outbound: mpsc::Sender<AgentMessage>, now: Tick) {
        let membership = match self.membership_from(&welcome) {
            Ok(membership) => membership,
            Err(why) => {
                tracing::error!(error = %why, "manager is not one of this node's cluster");
                return;
            }
        };
        self.strange |=
            self.membership.as_ref().is_some_and(|known| known.epoch != membership.epoch);
        if self.membership.as_ref() != Some(&membership) {
            self.publish.membership.send_replace(Some(membership.clone()));
            self.membership = Some(membership);
        }
        self.told_role(&welcome.role);
        self.known_managers = welcome.managers;
        self.word.lease = Duration::from_millis(welcome.lease_ms);
        self.link = Some(Link {
            outbound,
            beat_every: beat_every(self.word.lease),
            next_beat: now,
            beats: VecDeque::new(),
            owes_applied: !self.held().is_empty(),
            owes_traffic: true,
        });
        self.outbox.connected(now);
        self.publish.connected.send_replace(true);
        self.say_who();
        tracing::info!(node = welcome.node_id, term = welcome.term, "session with the leader");
    }

    fn told_role(&self, word: &str) {
        let Some(role) = role_named(word) else { return };
        self.publish.role.send_if_modified(|known| known.replace(role) != Some(role));
    }

    fn membership_from(&self, welcome: &v1::Welcome) -> Result<Membership, String> {
        let node: NodeId = text("node_id", &welcome.node_id).map_err(|e| e.to_string())?;
        let subnet = text("subnet", &welcome.subnet).map_err(|e| e.to_string())?;
        let next = Membership {
            node,
            cluster: ClusterId(welcome.cluster_id),
            epoch: welcome.epoch,
            subnet,
            zone: welcome.zone.clone(),
        };
        match &self.membership {
            Some(known) if (known.cluster, known.node) != (next.cluster, next.node) => {
                Err(format!(
                    "this node is {} of cluster {}, and was welcomed as {} of cluster {}: if it is to change over, stop \
                 its tasks with `warren down` and remove {}",
                    known.node,
                    known.cluster,
                    next.node,
                    next.cluster,
                    self.options.data_dir.display()
                ))
            }
            Some(known) if known.epoch > next.epoch => Err(format!(
                "this node is in epoch {} of its cluster, and the manager in epoch {}: that manager was left behind when \
                 the cluster was restored; stop it, move its data directory away and join it anew",
                known.epoch, next.epoch
            )),
            Some(_) | None => Ok(next),
        }
    }

    fn disconnected(&mut self, why: &str) {
        if self.link.take().is_some() {
            tracing::warn!(error = why, "session with the leader ended, going on without");
        } else if self.refused != why {
            // Each reason once: it is tried again and again.
            tracing::warn!(error = why, "no session with the leader");
        } else {
            tracing::debug!(error = why, "no session with the leader");
        }
        why.clone_into(&mut self.refused);
        self.relays.clear();
        self.witness.clear();
        self.coming = None;
        self.publish.connected.send_replace(false);
    }

    fn message(&mut self, message: Message, floor: &Floor, now: Tick) {
        match message {
            Message::Welcome(_) => {}
            Message::Full(full) => {
                let allowance = full.stop_allowance;
                let taken = self.book.full(full, &floor.running(), self.strange);
                if taken.is_ok() {
                    self.sweep = Sweep::AtMost(allowance);
                    self.strange = false;
                }
                self.taken(taken, now);
            }
            Message::Assign(change) => {
                let taken = self.book.change(change);
                if taken.is_ok() && self.sweep == Sweep::Hold {
                    self.sweep = Sweep::AtMost(None);
                }
                self.taken(taken, now);
            }
            Message::Traffic(news) => self.traffic(&news),
            Message::StatusAck(ack) => self.outbox.acknowledged(ack.seq),
            Message::BeatAck(ack) => {
                self.told_role(&ack.role);
                // Had what this node holds been wrong, a Full would have come first.
                if self.sweep == Sweep::Hold && !self.apart && !self.strange {
                    self.sweep = Sweep::AtMost(None);
                }
                self.word.lease = Duration::from_millis(ack.lease_ms);
                if let Some(link) = &mut self.link {
                    link.beat_every = beat_every(self.word.lease);
                    // Answers come in order, one for each beat.
                    let sent = link.beats.pop_front().unwrap_or_default();
                    self.answered = self.answered.max(sent);
                    self.word.given(ack.traffic_epoch, sent);
                    self.word.publish(self.resolved, now, &self.publish.word);
                }
            }
            Message::Relay(relay) => {
                if let Some(link) = &self.link {
                    self.relays.handle(relay, floor.runtime(), &link.outbound);
                }
            }
            Message::Probe(asked) => {
                if let Some(link) = &self.link {
                    self.witness.look(asked, &link.outbound);
                }
            }
        }
    }

    fn taken(&mut self, taken: Result<(), Refusal>, now: Tick) {
        let held = match &taken {
            Ok(()) => String::new(),
            Err(Refusal::Held(why)) => why.clone(),
            Err(Refusal::Apart { .. } | Refusal::Digest { .. } | Refusal::Unreadable(_)) => {
                self.held_full.clone()
            }
        };
        self.apart = taken.is_err();
        if let Err(why) = taken {
            tracing::warn!(error = %why, "assignments are not taken over");
        }
        self.held_full = held;
        self.say_who();
        if let Some(link) = &mut self.link {
            link.owes_applied = true;
            // Its digest tells the leader where this node stands.
            link.next_beat = now;
        }
    }

    /// Takes over a view that may come in several messages: it counts once it is whole.
    fn traffic(&mut self, news: &[u8]) {
        let view = self.coming.take();
        let mut view = view.unwrap_or_else(|| TrafficView::clone(&self.publish.traffic.borrow()));
        let taken = traffic::decode(news).and_then(|mut news| {
            let (more, digest) = (news.more, std::mem::take(&mut news.digest));
            traffic::merge_into(&mut view, news)?;
            if !more {
                self.traffic_digest = agreed(&view, &digest)?;
            }
            Ok(more)
        });
        match taken {
            Ok(true) => self.coming = Some(view),
            Ok(false) => {
                ::metrics::gauge!(metrics::TRAFFIC_EPOCH)
                    .set(u32::try_from(view.epoch).unwrap_or(u32::MAX));
                self.publish.traffic.send_replace(Arc::new(view));
                self.say_who();
            }
            Err(error) => {
                tracing::error!(%error, "traffic cannot be read, keeping what was known");
                // What comes next builds on it: a new session begins with the whole view.
                self.disconnected("the leader told of traffic in a way that cannot be read");
            }
        }
    }

    fn held(&self) -> &str {
        if self.held_full.is_empty() { &self.held_strays } else { &self.held_full }
    }

    /// Takes over how the floor is, publishes it and says what is owed.
    pub(super) fn take_over(&mut self, outcome: Outcome, floor: &Floor, now: Tick) {
        let Outcome { statuses, held } = outcome;
        metrics::tasks(statuses.values());
        self.publish.readiness.send_if_modified(|known| {
            let next: BTreeMap<_, _> =
                statuses.iter().map(|(task, status)| (*task, status.ready)).collect();
            let news = **known != next;
            if news {
                *known = Arc::new(next);
            }
            news
        });
        self.publish.silent.send_if_modified(|known| {
            let news = known != floor.silent();
            if news {
                floor.silent().clone_into(known);
            }
            news
        });
        self.outbox.update(statuses, now);
        let held = held.unwrap_or_default();
        if self.held_strays != held {
            if !held.is_empty() {
                tracing::warn!(reason = held, "containers are left alone");
            }
            self.held_strays = held;
            if let Some(link) = &mut self.link {
                link.owes_applied = true;
            }
        }
        metrics::flag(metrics::HELD, !self.held().is_empty());
        self.places.send_if_modified(|known| {
            let news = known != floor.places();
            if news {
                known.clone_from(floor.places());
            }
            news
        });
        images::remember(&mut self.recent, self.book.assignments(), floor.resolved());
        self.keep(floor);
        self.speak(now);
        let waiting = u32::try_from(self.outbox.unacknowledged()).unwrap_or(u32::MAX);
        ::metrics::gauge!(metrics::STATUS_QUEUE).set(waiting);
    }

    /// Writes down what the next agent of this node goes on from.
    fn keep(&self, floor: &Floor) {
        let ready = self.outbox.statuses().iter().filter(|(_, status)| status.ready);
        let next = Cached {
            membership: self.membership.clone(),
            revision: self.book.revision(),
            assignments: Arc::clone(self.book.assignments()),
            traffic: self.publish.traffic.borrow().clone(),
            managers: self.known_managers.clone(),
            ready: ready.filter_map(|(task, _)| Some((*task, floor.run(*task)?))).collect(),
            images: self.recent.clone(),
        };
        self.keep.send_if_modified(|known| {
            let news = **known != next;
            if news {
                *known = Arc::new(next);
            }
            news
        });
    }

    /// Says all that is owed and for which there is room.
    fn speak(&mut self, now: Tick) {
        let Some(link) = &mut self.link else { return };
        let outbound = &link.outbound;
        let send = |message| {
            let message = AgentMessage { message: Some(message) };
            outbound.try_send(message).is_ok()
        };
        self.outbox.flush(now, |status| send(ToManager::Status(status)));
        if link.owes_applied {
            let held = if self.held_full.is_empty() { &self.held_strays } else { &self.held_full };
            link.owes_applied = !send(ToManager::Applied(v1::Assigned {
                revision: self.book.revision(),
                digest: self.book.digest().to_vec(),
                held: held.clone(),
            }));
        }
        if link.owes_traffic {
            let applied = v1::TrafficApplied { epoch: self.resolved };
            link.owes_traffic = !send(ToManager::TrafficApplied(applied));
        }
        if link.next_beat <= now {
            let (cpu, memory) = self.load.read();
            // A beat that found no room is not missed: what fills the room is a sign of life itself.
            let sent = send(ToManager::Beat(v1::Beat {
                digest: self.book.digest().to_vec(),
                revision: self.book.revision(),
                traffic_epoch: self.resolved,
                cpu_milli: cpu.0,
                memory_bytes: memory.0,
                problems: self.options.problems.borrow().iter().cloned().collect(),
            }));
            link.beats.extend(sent.then_some(now));
            link.next_beat = now.after(link.beat_every);
        }
    }

    /// Keeps what a new session begins with up to date.
    fn say_who(&self) {
        let facts = &self.options.facts;
        let membership = self.membership.as_ref();
        self.hello.send_replace(v1::Hello {
            key: self.options.key.clone(),
            boot: self.boot,
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            cluster_id: membership.map_or(0, |membership| membership.cluster.0),
            epoch: membership.map_or(0, |membership| membership.epoch),
            revision: self.book.revision(),
            digest: self.book.digest().to_vec(),
            hostname: facts.hostname.to_string(),
            address: facts.address.to_string(),
            port: facts.port.into(),
            probe_port: facts.probe_port.into(),
            platform: facts.platform.clone(),
            cpu_milli: facts.cpu.0,
            memory_bytes: facts.memory.0,
            runtime: facts.runtime.clone(),
            version: facts.version.clone(),
            feature_level: facts.level.0,
            // Only a machine that joins is asked for it.
            wall_unix_ms: 0,
            manager: self.options.manager,
            subnet: self.options.subnet.map(|subnet| subnet.to_string()).unwrap_or_default(),
            labels: self.options.labels.clone(),
            traffic_digest: self.traffic_digest.to_vec(),
            // The session says what it is when it begins.
            encryption: None,
        });
        let mut managers = self.options.managers.clone();
        for target in self.known_managers.iter().filter_map(|text| text.parse().ok()) {
            if !managers.contains(&target) {
                managers.push(target);
            }
        }
        self.publish.managers.send_replace(managers);
    }
}
