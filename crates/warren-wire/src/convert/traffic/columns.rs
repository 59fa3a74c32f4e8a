//! Endpoints as columns of numbers, which are small where rows of text are large: a leader tells every node of every
//! task.

use crate::v1;
use std::net::Ipv4Addr;
use warren_core::id::{NodeId, RevisionNumber, TaskId};
use warren_core::spec::FieldError;
use warren_core::traffic::Endpoint;

/// In the order of task ids, as a view has them.
pub(super) fn render<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> v1::Endpoints {
    let mut columns = v1::Endpoints::default();
    let mut last = 0;
    for endpoint in endpoints {
        columns.task_steps.push(step(&mut last, endpoint.task));
        columns.revisions.push(endpoint.revision.0);
        columns.nodes.push(endpoint.node.0);
        columns.addresses.push(endpoint.address.to_bits());
        columns.ready.push(endpoint.ready);
    }
    columns
}

/// The same back.
///
/// # Errors
/// The columns are of different lengths, or the tasks do not ascend.
pub(super) fn parse(columns: v1::Endpoints) -> Result<Vec<Endpoint>, FieldError> {
    let tasks = tasks("endpoints.task_steps", &columns.task_steps)?;
    let lengths = [
        columns.revisions.len(),
        columns.nodes.len(),
        columns.addresses.len(),
        columns.ready.len(),
    ];
    if lengths.iter().any(|length| *length != tasks.len()) {
        let problem = format!("{} tasks have columns of {lengths:?} values", tasks.len());
        return Err(FieldError::new("endpoints", problem));
    }
    let rest = columns.revisions.into_iter().zip(columns.nodes);
    let rest = rest.zip(columns.addresses).zip(columns.ready);
    let endpoint = |(task, (((revision, node), address), ready))| Endpoint {
        task,
        revision: RevisionNumber(revision),
        node: NodeId(node),
        address: Ipv4Addr::from_bits(address),
        ready,
    };
    Ok(tasks.into_iter().zip(rest).map(endpoint).collect())
}

/// How many there are.
pub(super) fn count(columns: Option<&v1::Endpoints>) -> usize {
    columns.map_or(0, |columns| columns.task_steps.len())
}

/// In parts of at most `max`, and at least one part.
pub(super) fn split(mut columns: v1::Endpoints, max: usize) -> Vec<v1::Endpoints> {
    let mut parts = Vec::new();
    while columns.task_steps.len() > max {
        let mut rest = v1::Endpoints {
            task_steps: columns.task_steps.split_off(max),
            revisions: columns.revisions.split_off(max),
            nodes: columns.nodes.split_off(max),
            addresses: columns.addresses.split_off(max),
            ready: columns.ready.split_off(max),
        };
        // Each part begins with a task, not with a step.
        rest.task_steps[0] += columns.task_steps.iter().sum::<u64>();
        parts.push(std::mem::replace(&mut columns, rest));
    }
    parts.push(columns);
    parts
}

/// Ascending tasks as the first and what each is above the one before.
pub(super) fn steps(tasks: impl IntoIterator<Item = TaskId>) -> Vec<u64> {
    let mut last = 0;
    tasks.into_iter().map(|task| step(&mut last, task)).collect()
}

fn step(last: &mut u64, task: TaskId) -> u64 {
    let step = task.0 - *last;
    *last = task.0;
    step
}

/// The same back.
///
/// # Errors
/// They do not ascend.
pub(super) fn tasks(field: &str, steps: &[u64]) -> Result<Vec<TaskId>, FieldError> {
    let mut last = 0_u64;
    let mut tasks = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let next = last.checked_add(*step).filter(|next| at == 0 || *next > last);
        last = next.ok_or_else(|| {
            FieldError::new(field, format!("value {at} is {step} above {last}: tasks ascend"))
        })?;
        tasks.push(TaskId(last));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_come_back_as_they_were_in_parts_of_any_size(
            tasks in prop::collection::btree_map(any::<u64>(), any::<(u32, u64, u32, bool)>(), 0..50),
            max in 1_usize..60,
        ) {
            let endpoints: Vec<Endpoint> = tasks
                .into_iter()
                .map(|(task, (revision, node, address, ready))| Endpoint {
                    task: TaskId(task),
                    revision: RevisionNumber(revision),
                    node: NodeId(node),
                    address: Ipv4Addr::from_bits(address),
                    ready,
                })
                .collect();
            let parts = split(render(&endpoints), max);
            prop_assert!(parts.iter().all(|part| count(Some(part)) <= max));
            let back = parts.into_iter().map(parse).collect::<Result<Vec<_>, _>>().unwrap();
            prop_assert_eq!(back.concat(), endpoints);
        }

        #[test]
        fn any_numbers_are_read_or_refused(
            task_steps in prop::collection::vec(any::<u64>(), 0..4),
            revisions in prop::collection::vec(any::<u32>(), 0..4),
            ready in prop::collection::vec(any::<bool>(), 0..4),
        ) {
            let columns = v1::Endpoints {
                nodes: vec![1; revisions.len()],
                addresses: vec![1; revisions.len()],
                task_steps,
                revisions,
                ready,
            };
            if let Ok(read) = parse(columns.clone()) {
                prop_assert_eq!(render(&read), columns);
            }
        }
    }

    #[test]
    fn columns_of_different_lengths_are_refused_by_name() {
        let short = v1::Endpoints { task_steps: vec![7, 1], ..v1::Endpoints::default() };
        assert_eq!(parse(short).unwrap_err().field, "endpoints");
        let twice = v1::Endpoints { task_steps: vec![7, 0], ..v1::Endpoints::default() };
        assert_eq!(parse(twice).unwrap_err().field, "endpoints.task_steps");
    }
}
