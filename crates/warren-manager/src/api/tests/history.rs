//! Recorded histories of concurrent callers: every answer must fit one order of all calls that agrees with real time.

use super::*;
use tokio::time::Instant;

const CALLERS: u32 = 4;
const CALLS: u32 = 40;

/// One call, from when it was sent until it was answered.
struct Call {
    began: Instant,
    ended: Instant,
    /// The replicas that it wrote, where it wrote any; no two calls write the same.
    wrote: Option<u32>,
    /// What its answer showed.
    generation: u64,
    replicas: u32,
}

fn replicas(service: &v1::Service) -> u32 {
    match service.spec.as_ref().and_then(|spec| spec.mode) {
        Some(v1::service_spec::Mode::Replicated(replicated)) => replicated.replicas.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_see_one_history() {
    let cluster = Cluster::start().await;
    cluster.service("web").await;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut services = cluster.services();
        callers.spawn(async move {
            let mut calls = Vec::new();
            let mut known = 0;
            for i in 0..CALLS {
                let began = Instant::now();
                let value = 1 + caller * 1000 + i;
                let scale = |expect_generation| v1::ScaleServiceRequest {
                    service_id: "web".into(),
                    replicas: value,
                    expect_generation,
                };
                let (wrote, seen) = match i % 3 {
                    0 => {
                        let get = v1::GetServiceRequest { service_id: "web".into() };
                        let seen = services.get_service(get).await.unwrap().into_inner();
                        (None, seen.service.unwrap())
                    }
                    1 => {
                        let seen = services.scale_service(scale(0)).await.unwrap().into_inner();
                        (Some(value), seen.service.unwrap())
                    }
                    _ => match services.scale_service(scale(known)).await {
                        Ok(seen) => (Some(value), seen.into_inner().service.unwrap()),
                        Err(status) => {
                            assert_eq!(status.code(), Code::Aborted, "{status}");
                            continue;
                        }
                    },
                };
                known = seen.generation;
                let (generation, replicas) = (seen.generation, replicas(&seen));
                let ended = Instant::now();
                calls.push(Call { began, ended, wrote, generation, replicas });
            }
            calls
        });
    }
    let mut calls = Vec::new();
    while let Some(made) = callers.join_next().await {
        calls.extend(made.unwrap());
    }
    check(&calls);
    cluster.stop().await;
}

fn check(calls: &[Call]) {
    // One generation is one value, and no value comes back.
    let mut values = BTreeMap::new();
    for call in calls {
        let value = *values.entry(call.generation).or_insert(call.replicas);
        assert_eq!(value, call.replicas, "generation {}", call.generation);
    }
    let born: BTreeMap<_, _> =
        values.iter().map(|(generation, value)| (*value, generation)).collect();
    assert_eq!(born.len(), values.len(), "a value that was overwritten came back");
    for call in calls {
        let before = calls.iter().filter(|other| other.ended < call.began);
        let newest = before.map(|other| other.generation).max().unwrap_or(0);
        assert!(
            call.generation >= newest,
            "an answer was older than one given before it was asked"
        );
        if let Some(generation) = call.wrote.and_then(|value| born.get(&value)) {
            assert!(**generation <= call.generation, "a caller did not see its own write");
            assert!(**generation > newest, "a write took effect before it was asked for");
        }
    }
}
