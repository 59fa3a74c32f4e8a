//! Clients of real managers: each calls through another manager in turn, replaces what it has read, makes services and
//! lists them, whatever is broken at the moment. At the end what they were answered is checked, and what watchers were
//! sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use warren_wire::v1::service_spec::Mode;
use warren_wire::v1::services_client::ServicesClient;
use warren_wire::v1::{
    CreateServiceRequest, GetServiceRequest, ListServicesRequest, Placement, Replicated,
    ScaleServiceRequest, Service, ServiceSpec, TaskTemplate, UpdateServiceRequest,
};

use super::register::{self, Versioned};
use super::watchers::{Committed, Watchers};
use super::{Call, set};
use crate::api::channel;
use crate::cluster::Node;
use crate::fleet::SOON;
use crate::wait;

/// Services whose replicas are replaced. Few, so that writers meet.
const REGISTERS: [&str; 2] = ["one", "two"];
/// How the names of services begin that are only made and listed.
const ELEMENT: &str = "e";
/// Clients at once.
const CLIENTS: usize = 5;
/// Between two calls of a client.
const PACE: Duration = Duration::from_millis(60);
/// So many calls a client makes at that pace. What lasts longer goes on slowly: the events of all of it are to be kept,
/// which are 2,000, and the checker is to be done in a second.
const BRISK: usize = 250;
/// Between two calls then.
const SLOW: Duration = Duration::from_secs(1);
/// How long a client waits for an answer. After that it does not know what became of its call.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Clients and watchers of managers; dropped, they stop.
pub struct Story {
    stop: CancellationToken,
    clients: JoinHandle<()>,
    sockets: Vec<PathBuf>,
    start: BTreeMap<String, Versioned>,
    record: Arc<Record>,
    watchers: Watchers,
}

/// What all clients write to.
#[derive(Default)]
struct Record {
    /// One more at each call and each answer.
    clock: AtomicU64,
    /// The last value that was tried.
    value: AtomicU64,
    registers: Mutex<BTreeMap<String, Vec<register::Call>>>,
    elements: Mutex<Vec<set::Call>>,
    /// By manager: the beginning of the last write through it that was acknowledged.
    last: Mutex<BTreeMap<usize, u64>>,
}

impl Story {
    /// Makes the services, and starts clients of these managers and a watcher at each.
    ///
    /// # Errors
    /// Where the services cannot be made.
    pub async fn begin(managers: &[&Node]) -> anyhow::Result<Self> {
        let sockets: Vec<PathBuf> =
            managers.iter().map(|node| node.data_dir().join("warren.sock")).collect();
        let mut services = client(sockets.first().context("a manager")?);
        let mut start = BTreeMap::new();
        for name in REGISTERS {
            let request = CreateServiceRequest { spec: Some(spec(name, 0)), skip_resolve: true };
            let made = services.create_service(request).await?.into_inner().service;
            start.insert(name.to_owned(), found(&made.context("a service")?)?);
        }
        let (stop, record) = (CancellationToken::new(), Arc::new(Record::default()));
        let mut work = Vec::new();
        for number in 0..CLIENTS {
            let client = Client {
                number,
                chance: number as u64,
                managers: sockets.iter().map(|socket| client(socket)).collect(),
                known: start.clone(),
                record: Arc::clone(&record),
            };
            work.push(client.run(stop.clone()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clients = std::thread::spawn(move || {
            runtime.block_on(futures::future::join_all(work));
        });
        let watchers = Watchers::start(&sockets)?;
        Ok(Self { stop, clients, sockets, start, record, watchers })
    }

    /// Waits until a write through the manager at this place is acknowledged that begins after this call.
    ///
    /// # Errors
    /// Where none is.
    pub async fn goes_on(&self, place: usize) -> anyhow::Result<()> {
        let now = self.now();
        wait::until(&format!("writes go on through manager {place}"), SOON, async || {
            self.went_on(place, now)
        })
        .await
    }

    /// This moment, for [`Self::went_on`].
    #[must_use]
    pub fn now(&self) -> u64 {
        self.record.tick()
    }

    /// Whether a write through the manager at this place that began after `since` was acknowledged.
    ///
    /// # Errors
    /// Where none was.
    pub fn went_on(&self, place: usize, since: u64) -> anyhow::Result<()> {
        let last = lock(&self.record.last).get(&place).copied();
        ensure!(last.is_some_and(|last| last > since), "the last began at {last:?} of {since}");
        Ok(())
    }

    /// Ends the clients and has everything checked, with all managers there.
    ///
    /// # Errors
    /// Where there is no order of all calls that explains the answers, or a watcher was not sent what was committed.
    pub async fn check(self) -> anyhow::Result<()> {
        self.stop.cancel();
        // Each notes what it is about to do only when it knows what became of it.
        wait::until("the clients have stopped", SOON, async || {
            ensure!(self.clients.is_finished(), "one waits for an answer");
            Ok(())
        })
        .await?;
        // A last look at everything, which ends the history.
        let reader = Client {
            number: CLIENTS,
            chance: 0,
            managers: vec![client(&self.sockets[0])],
            known: self.start.clone(),
            record: Arc::clone(&self.record),
        };
        wait::until("all is read", SOON, async || reader.look().await).await?;
        let committed = self.watchers.compared(&self.sockets).await?;
        let (mut calls, mut doubts) = (0, 0);
        for (name, history) in &*lock(&self.record.registers) {
            calls += history.len();
            doubts += history.iter().filter(|call| call.answered.is_none()).count();
            let values = register::values(self.start[name], history).context(name.clone())?;
            explains(name, &values, history, &committed)?;
        }
        let elements = lock(&self.record.elements);
        calls += elements.len();
        doubts += elements.iter().filter(|call| call.answered.is_none()).count();
        set::check(&elements).context("the list of services")?;
        made(&elements, &committed)?;
        crate::say(&format!("{calls} calls in an order, {doubts} in doubt; {committed}"));
        Ok(())
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Fails where these values are not what was committed, one change a version. What is in doubt may come after the last
/// reading.
fn explains(
    name: &str,
    values: &[Versioned],
    history: &[register::Call],
    committed: &Committed,
) -> anyhow::Result<()> {
    let changes = committed.changes_of(name);
    for value in values {
        let change = changes.get(usize::try_from(value.version)? - 1);
        let change = change.with_context(|| format!("nothing is told of {name} as {value:?}"))?;
        let same = scaled_to(&change.text).is_none_or(|to| to == value.value);
        ensure!(same, "{name} became {value:?}, and it is told: {}", change.text);
    }
    let doubts = history.iter().filter(|call| call.answered.is_none());
    let doubts: Vec<_> = doubts.map(|call| call.asked).collect();
    for (version, change) in (1..).zip(&changes).skip(values.len()) {
        let expect = version - 1;
        let late = doubts.iter().any(|asked| match asked {
            register::Ask::Write { expect: of, .. } => *of == expect,
            register::Ask::Read => false,
        });
        ensure!(late, "nobody asked for this change of {name} to {version}: {}", change.text);
    }
    Ok(())
}

/// Fails where the services that were made are not those of the last list. What is in doubt may come after it.
fn made(elements: &[set::Call], committed: &Committed) -> anyhow::Result<()> {
    let last = elements.iter().rev().find_map(|call| match &call.answered {
        Some((_, set::Answer::Holds(seen))) => Some(seen),
        Some((_, set::Answer::Added | set::Answer::Refused)) | None => None,
    });
    let last = last.context("a list")?;
    let made: Vec<u32> = committed.created().filter_map(element).collect();
    let once: BTreeSet<u32> = made.iter().copied().collect();
    ensure!(made.len() == once.len(), "a service was made twice: {made:?}");
    ensure!(last.is_subset(&once), "listed are {last:?}, and {once:?} were made");
    for late in once.difference(last) {
        let asked = set::Ask::Add(*late);
        let doubt = elements.iter().any(|call| call.asked == asked && call.answered.is_none());
        ensure!(doubt, "{late} was made, and is not in the last list");
    }
    Ok(())
}

/// The number of replicas that an event tells of.
fn scaled_to(text: &str) -> Option<u32> {
    let (_, numbers) = text.split_once(" scaled from ")?;
    numbers.split_whitespace().nth(2)?.parse().ok()
}

impl Record {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn of_register(&self, name: &str, call: register::Call) {
        // A reading that nobody heard of says nothing.
        if call.answered.is_some() || call.asked != register::Ask::Read {
            lock(&self.registers).entry(name.to_owned()).or_default().push(call);
        }
    }
}

struct Client {
    number: usize,
    chance: u64,
    managers: Vec<ServicesClient<Channel>>,
    /// What it believes to be there.
    known: BTreeMap<String, Versioned>,
    record: Arc<Record>,
}

impl Client {
    async fn run(mut self, stop: CancellationToken) {
        for turn in 0.. {
            if stop.is_cancelled() {
                return;
            }
            sleep(if turn < BRISK { PACE } else { SLOW }).await;
            let place = self.draw(self.managers.len());
            let name = REGISTERS[self.draw(REGISTERS.len())];
            match self.draw(10) {
                0..=3 => self.write(place, name).await,
                4..=7 => self.read(place, name).await,
                8 => self.add(place).await,
                _ => self.list(place).await,
            }
        }
    }

    /// A number below `count` (SplitMix64; which one does not matter).
    fn draw(&mut self, count: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % count as u64).unwrap_or(0)
    }

    /// Replaces what it believes to be there.
    async fn write(&mut self, place: usize, name: &str) {
        let expect = self.known[name].version;
        let number = self.record.value.fetch_add(1, Ordering::SeqCst) + 1;
        let value = u32::try_from(number).unwrap_or(u32::MAX);
        let by_spec = self.draw(2) == 0;
        let mut services = self.managers[place].clone();
        let write = Box::pin(async move {
            let (service_id, expect_generation) = (name.to_owned(), expect);
            if by_spec {
                let request = UpdateServiceRequest {
                    service_id,
                    expect_generation,
                    spec: Some(spec(name, value)),
                    ..UpdateServiceRequest::default()
                };
                services.update_service(request).await.map(drop)
            } else {
                let request =
                    ScaleServiceRequest { service_id, expect_generation, replicas: value };
                services.scale_service(request).await.map(drop)
            }
        });
        let begun = self.record.tick();
        let answer = match answered(write).await {
            Some(Ok(())) => Some(register::Answer::Written),
            Some(Err(status)) if status.code() == Code::Aborted => Some(register::Answer::Refused),
            Some(Err(_)) | None => None,
        };
        let asked = register::Ask::Write { expect, value };
        if answer == Some(register::Answer::Written) {
            self.known.insert(name.to_owned(), Versioned { version: expect + 1, value });
            lock(&self.record.last).insert(place, begun);
        }
        self.remember(name, asked, begun, answer);
    }

    async fn read(&mut self, place: usize, name: &str) {
        let begun = self.record.tick();
        let Some(found) = self.ask(place, name).await else { return };
        self.known.insert(name.to_owned(), found);
        self.remember(name, register::Ask::Read, begun, Some(register::Answer::Is(found)));
    }

    async fn ask(&self, place: usize, name: &str) -> Option<Versioned> {
        let mut services = self.managers[place].clone();
        let request = GetServiceRequest { service_id: name.to_owned() };
        let answer = answered(services.get_service(request)).await?.ok()?;
        found(&answer.into_inner().service?).ok()
    }

    fn remember(
        &self,
        name: &str,
        asked: register::Ask,
        begun: u64,
        answer: Option<register::Answer>,
    ) {
        let answered = answer.map(|answer| (self.record.tick(), answer));
        self.record.of_register(name, Call { client: self.number, asked, begun, answered });
    }

    /// Makes a service that nobody else makes.
    async fn add(&self, place: usize) {
        let mut services = self.managers[place].clone();
        let number = self.record.value.fetch_add(1, Ordering::SeqCst) + 1;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let spec = spec(&format!("{ELEMENT}{number}"), 0);
        let begun = self.record.tick();
        let request = CreateServiceRequest { spec: Some(spec), skip_resolve: true };
        let answer = match answered(Box::pin(services.create_service(request))).await {
            Some(Ok(_)) => Some(set::Answer::Added),
            Some(Err(status)) if status.code() == Code::AlreadyExists => Some(set::Answer::Refused),
            Some(Err(_)) | None => None,
        };
        let answered = answer.map(|answer| (self.record.tick(), answer));
        let call = Call { client: self.number, asked: set::Ask::Add(number), begun, answered };
        lock(&self.record.elements).push(call);
    }

    async fn list(&self, place: usize) {
        let mut services = self.managers[place].clone();
        let begun = self.record.tick();
        let listed = answered(services.list_services(ListServicesRequest::default())).await;
        let Some(Ok(listed)) = listed else { return };
        let specs = listed.into_inner().services.into_iter().filter_map(|service| service.spec);
        let seen = specs.filter_map(|spec| element(&spec.name)).collect();
        let answered = Some((self.record.tick(), set::Answer::Holds(seen)));
        let call = Call { client: self.number, asked: set::Ask::Read, begun, answered };
        lock(&self.record.elements).push(call);
    }

    /// Reads everything once.
    async fn look(&self) -> anyhow::Result<()> {
        for name in REGISTERS {
            let begun = self.record.tick();
            let Some(found) = self.ask(0, name).await else { bail!("{name} was not told") };
            self.remember(name, register::Ask::Read, begun, Some(register::Answer::Is(found)));
        }
        let before = lock(&self.record.elements).len();
        self.list(0).await;
        ensure!(lock(&self.record.elements).len() > before, "the services were not listed");
        Ok(())
    }
}

/// What came back in time.
async fn answered<T>(call: impl Future<Output = Result<T, Status>>) -> Option<Result<T, Status>> {
    timeout(ANSWER_TIME_MAX, call).await.ok()
}

/// A service that no node takes, so that its replicas are a number and nothing else.
fn spec(name: &str, replicas: u32) -> ServiceSpec {
    let nowhere = "node.labels.of-no-node==true".to_owned();
    ServiceSpec {
        name: name.to_owned(),
        mode: Some(Mode::Replicated(Replicated { replicas: Some(replicas) })),
        template: Some(TaskTemplate { image: "/of/nobody".to_owned(), ..TaskTemplate::default() }),
        placement: Some(Placement { constraints: vec![nowhere], ..Placement::default() }),
        ..ServiceSpec::default()
    }
}

fn found(service: &Service) -> anyhow::Result<Versioned> {
    let mode = service.spec.as_ref().and_then(|spec| spec.mode);
    let Some(Mode::Replicated(Replicated { replicas: Some(value) })) = mode else {
        bail!("no number of replicas: {service:?}")
    };
    Ok(Versioned { version: service.generation, value })
}

fn element(name: &str) -> Option<u32> {
    name.strip_prefix(ELEMENT)?.parse().ok()
}

fn client(socket: &std::path::Path) -> ServicesClient<Channel> {
    ServicesClient::new(channel(socket))
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole at any moment, also where its holder ended early.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
