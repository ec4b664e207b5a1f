//! The client against a pretended agent on a real socket.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use seaway_model::Diagnose;

use super::*;

/// Answers one connection with `lines` and returns what was asked.
fn agent(lines: &'static str) -> (tempfile::TempDir, AgentClient, JoinHandle<String>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        asked
    });
    (folder, AgentClient::new(&socket), thread)
}

#[test]
fn one_question_gets_one_answer() {
    let (_folder, client, thread) = agent("{\"answer\":\"audited\",\"differences\":[\"x\"]}\n");
    let answer = client.ask(&Request::Audit).unwrap();
    assert_eq!(answer, Answer::Audited { differences: vec!["x".into()] });
    assert_eq!(thread.join().unwrap(), "{\"verb\":\"audit\"}");
}

#[test]
fn refusals_carry_the_agents_own_words() {
    let failed = "{\"answer\":\"failed\",\"id\":\"SW0601\",\"message\":\"pool blue is full\",\"fix\":\"add a pool\",\"cniCode\":11}\n";
    let (_folder, client, _thread) = agent(failed);
    let error = client.ask(&Request::Status).unwrap_err();
    let text = seaway_model::diagnosis::Report(&error).to_string();
    assert!(text.contains("SW0805: agent refused"), "{text}");
    assert!(text.contains("cause: SW0601: pool blue is full"), "{text}");
    assert!(text.contains("fix:   add a pool"), "{text}");
}

#[test]
fn silence_nonsense_and_absence_are_told_apart() {
    let (_folder, client, _thread) = agent("");
    assert_eq!(client.ask(&Request::Status).unwrap_err().id().to_string(), "SW0803");
    let (_folder, client, _thread) = agent("HTTP/1.1 400 Bad Request\r\n");
    let error = client.ask(&Request::NodeStatus).unwrap_err();
    assert_eq!(error.id().to_string(), "SW0804");
    assert!(error.to_string().contains("HTTP/1.1 400"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let absent = AgentClient::new(&folder.path().join("agent.sock"));
    assert_eq!(absent.ask(&Request::Status).unwrap_err().id().to_string(), "SW0801");
    let deaf = folder.path().join("deaf.sock");
    drop(UnixListener::bind(&deaf).unwrap());
    assert_eq!(AgentClient::new(&deaf).ask(&Request::Status).unwrap_err().id().to_string(), "SW0802");
}

#[test]
fn a_stream_ends_when_the_agent_closes() {
    let (_folder, client, _thread) = agent("{\"answer\":\"done\"}\n{\"answer\":\"done\"}\n");
    let answers: Vec<_> = client.stream(&Request::Monitor).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(answers, [Answer::Done, Answer::Done]);
}
