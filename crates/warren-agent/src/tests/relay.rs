//! Requests into the node.

use super::manager::Session;
use super::{Machine, task};
use warren_wire::v1::exec_request::Message as Input;
use warren_wire::v1::exec_response::Message as Output;
use warren_wire::v1::relay::Request as Ask;
use warren_wire::v1::relay_reply::Reply;
use warren_wire::v1::{self, ExecRequest};

async fn two_tasks(machine: &Machine) -> (super::Manager, super::Running, Session) {
    let (manager, agent, mut session) = machine.up().await;
    session.full(1, &[task(1, 5), task(2, 5)], None).await;
    session.until_ready(1).await;
    session.until_ready(2).await;
    (manager, agent, session)
}

fn lines(replies: &[Reply]) -> Vec<String> {
    let line = |reply: &Reply| match reply {
        Reply::Log(log) if log.problem.is_empty() => {
            Some(format!("{} {}", log.task, String::from_utf8_lossy(&log.line)))
        }
        Reply::Log(log) => Some(format!("{}: {}", log.task_id, log.problem)),
        Reply::Pinned(_) | Reply::Exec(_) | Reply::Error(_) | Reply::End(_) => None,
    };
    replies.iter().filter_map(line).collect()
}

fn logs(follow: bool, tail: Option<u32>) -> Ask {
    let task_ids = ["t1", "t2", "t9"].map(str::to_owned).to_vec();
    Ask::Logs(v1::RelayLogs { task_ids, follow, tail, since_unix_ms: 0 })
}

#[tokio::test]
async fn logs_of_several_tasks_come_in_the_order_they_were_written() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = two_tasks(&machine).await;
    for (task, text) in [(1, "a"), (2, "b"), (2, "c"), (1, "d")] {
        machine.sim.write(task, text);
    }
    session.relay(5, logs(false, None)).await;
    session.credit(5, 64).await;
    let replies = session.answer(5).await;
    let missing = "t9: it has no container on this node";
    assert_eq!(lines(&replies), [missing, "web.1 a", "web.2 b", "web.2 c", "web.1 d"]);
    assert!(matches!(replies.last(), Some(Reply::End(_))));

    session.relay(6, logs(false, Some(1))).await;
    session.credit(6, 64).await;
    assert_eq!(lines(&session.answer(6).await), [missing, "web.2 c", "web.1 d"]);
}

#[tokio::test]
async fn followed_logs_go_on_through_a_restart_and_keep_to_their_credit() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = two_tasks(&machine).await;
    machine.sim.write(1, "before");
    let ask = v1::RelayLogs { task_ids: vec!["t1".to_owned()], follow: true, ..Default::default() };
    session.relay(5, Ask::Logs(ask)).await;
    session.credit(5, 1).await;
    session.until("the first line comes", |s| s.replies.len() == 1).await;
    machine.sim.write(1, "second");
    machine.sim.crash(1, 1, true);
    session.until_status(1, "it runs again", |s| s.ready && s.restarts == 1).await;
    machine.sim.write(1, "after");
    assert_eq!(session.replies.len(), 1, "there is no credit for more");
    session.credit(5, 10).await;
    session.until("all lines come", |s| s.replies.len() == 3).await;
    let replies: Vec<_> = session.replies.iter().map(|r| r.reply.clone().unwrap()).collect();
    assert_eq!(lines(&replies), ["web.1 before", "web.1 second", "web.1 after"]);

    session.relay(5, Ask::Cancel(v1::RelayCancel {})).await;
    session.relay(6, Ask::Resolve(v1::ResolveImage { image: "web:v2".to_owned(), pull: 0 })).await;
    session.answer(6).await;
    machine.sim.write(1, "nobody hears this");
    session.relay(7, Ask::Resolve(v1::ResolveImage { image: "web:v2".to_owned(), pull: 0 })).await;
    session.answer(7).await;
    assert_eq!(session.replies.iter().filter(|reply| reply.id == 5).count(), 3);
}

fn start(task: &str, command: &[&str], interactive: bool) -> Ask {
    let start = v1::ExecStart {
        task_id: task.to_owned(),
        command: command.iter().map(ToString::to_string).collect(),
        interactive,
        ..Default::default()
    };
    Ask::Exec(ExecRequest { message: Some(Input::Start(start)) })
}

#[tokio::test]
async fn a_command_reads_writes_and_tells_its_exit_code() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = two_tasks(&machine).await;
    session.relay(1, start("t1", &["cat"], true)).await;
    session.credit(1, 64).await;
    for part in ["one ", "two"] {
        let input = Input::Stdin(part.as_bytes().to_vec());
        session.relay(1, Ask::Exec(ExecRequest { message: Some(input) })).await;
    }
    let end = Input::StdinEnd(v1::ExecEnd {});
    session.relay(1, Ask::Exec(ExecRequest { message: Some(end) })).await;
    let replies = session.answer(1).await;
    let outputs = replies.iter().filter_map(|reply| match reply {
        Reply::Exec(v1::ExecResponse { message: Some(Output::Stdout(bytes)) }) => Some(&bytes[..]),
        _ => None,
    });
    assert_eq!(outputs.collect::<Vec<_>>().concat(), b"one two");

    session.relay(2, start("t2", &["exit", "7"], false)).await;
    session.credit(2, 64).await;
    let code = Reply::Exec(v1::ExecResponse { message: Some(Output::ExitCode(7)) });
    assert_eq!(session.answer(2).await, [code, Reply::End(v1::RelayEnd {})]);
}

#[tokio::test]
async fn refusals_carry_a_code_and_a_reason() {
    let machine = Machine::new();
    let (_manager, _agent, mut session) = two_tasks(&machine).await;
    let asks = [
        (start("t9", &["exit", "0"], false), 9, "t9 does not run on this node now"),
        (start("t1", &[], false), 3, "there is no command to run: name a program"),
        (start("t1", &["nonsense"], false), 9, "nonsense: not found"),
        (
            Ask::Resolve(v1::ResolveImage { image: "missing".to_owned(), pull: 0 }),
            5,
            "image missing is not there: nobody has it: check the name",
        ),
        (
            Ask::Exec(ExecRequest { message: Some(Input::Stdin(Vec::new())) }),
            3,
            "the first message of a command must start it",
        ),
    ];
    for (id, (ask, code, message)) in (10..).zip(asks) {
        session.relay(id, ask).await;
        let error = v1::RelayError { code, message: message.to_owned() };
        assert_eq!(session.answer(id).await, [Reply::Error(error)]);
    }
    session.relay(1, Ask::Resolve(v1::ResolveImage { image: "web:v2".to_owned(), pull: 0 })).await;
    assert_eq!(session.answer(1).await, [Reply::Pinned("sha256:web:v2".to_owned())]);
}
