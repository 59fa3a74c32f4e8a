//! Logs and events.

use crate::runtime::docker::client::{Client, READ, ours};
use crate::runtime::docker::read;
use crate::runtime::{
    BoxStream, ContainerRef, EventKind, LogLine, LogOptions, OutputStream, RuntimeError,
    RuntimeEvent, Scope, label,
};
use bollard::container::LogOutput;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future};
use std::time::SystemTime;

pub(super) async fn logs(
    client: &Client,
    id: &ContainerRef,
    options: &LogOptions,
) -> Result<BoxStream<LogLine>, RuntimeError> {
    let what = format!("container {id}");
    // The request of a stream is only sent when it is first read: ask first whether there is anything.
    client.call(&what, READ, client.docker.inspect_container(&id.0, None)).await?;
    let mut query =
        LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(options.follow);
    if let Some(tail) = options.tail {
        query = query.tail(&tail.to_string());
    }
    if let Some(since) = options.since {
        query = query.since(seconds(since));
    }
    let since = options.since;
    let meaning = client.translator(what);
    let lines = client
        .docker
        .logs(&id.0, Some(query.build()))
        .map_err(move |error| meaning(&error))
        .try_filter_map(|record| future::ready(Ok(line(record))))
        // The engine knows whole seconds only.
        .try_filter(move |line| future::ready(since.is_none_or(|since| line.at >= since)));
    Ok(lines.boxed())
}

fn seconds(time: SystemTime) -> i32 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i32::try_from(since.as_secs()).unwrap_or(i32::MAX)
}

/// One record of the engine is one line, or a piece of a long one, after its time and a space.
fn line(record: LogOutput) -> Option<LogLine> {
    let (stream, message) = match record {
        LogOutput::StdErr { message } => (OutputStream::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => {
            (OutputStream::Stdout, message)
        }
        LogOutput::StdIn { .. } => return None,
    };
    let space = message.iter().position(|byte| *byte == b' ')?;
    let at = read::time(std::str::from_utf8(&message[..space]).ok());
    Some(LogLine { at, stream, bytes: without_end(message.slice(space + 1..)) })
}

fn without_end(line: Bytes) -> Bytes {
    let mut end = line.len();
    for byte in [b'\n', b'\r'] {
        if line[..end].last() == Some(&byte) {
            end -= 1;
        }
    }
    line.slice(..end)
}

pub(super) fn events(client: &Client, scope: &Scope) -> BoxStream<RuntimeEvent> {
    let mut filters = ours(scope);
    let wanted = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    filters.insert("type".to_owned(), wanted(&["container"]));
    filters.insert("event".to_owned(), wanted(&["start", "die", "oom"]));
    let query = EventsOptionsBuilder::new().filters(&filters).build();
    let meaning = client.translator("events".to_owned());
    client
        .docker
        .events(Some(query))
        .map_err(move |error| meaning(&error))
        .try_filter_map(|message| future::ready(Ok(event(message))))
        .boxed()
}

fn event(message: EventMessage) -> Option<RuntimeEvent> {
    let kind = match message.action.as_deref()? {
        "start" => EventKind::Started,
        "die" => EventKind::Died,
        "oom" => EventKind::OutOfMemory,
        _ => return None,
    };
    let actor = message.actor?;
    let task = actor.attributes.and_then(|labels| labels.get(label::TASK)?.parse().ok());
    Some(RuntimeEvent { container: ContainerRef(actor.id?), task, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_time_and_a_line() {
        let message = Bytes::from_static(b"2026-11-21T05:00:00.5Z hello there\r\n");
        let line = line(LogOutput::StdErr { message }).unwrap();
        assert_eq!(line.bytes, &b"hello there"[..]);
        assert_eq!(line.stream, OutputStream::Stderr);
        let since = line.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.subsec_millis(), 500);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        let message = Bytes::from_static(b"2026-11-21T05:00:00Z \n");
        assert!(line(LogOutput::StdOut { message }).unwrap().bytes.is_empty());
        assert_eq!(line(LogOutput::StdOut { message: Bytes::from_static(b"no-time") }), None);
    }
}
