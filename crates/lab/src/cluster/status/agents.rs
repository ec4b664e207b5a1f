//! Asks each node's agent, through its socket, how it fares.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use seaway_model::agent_api::{AGENT_SOCKET, Answer, NodeStatus, Request};

use crate::machine::{Machine, Node};
use crate::patience::patience;

/// An agent answers from memory, within milliseconds; a frozen one never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What the agents say of themselves, by node; nothing of those that do not answer.
pub(super) fn ask_all(machine: &Machine) -> BTreeMap<String, NodeStatus> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            machine.nodes().iter().map(|node| (node.name(), scope.spawn(move || ask_node(node)))).collect();
        asked.into_iter().filter_map(|(name, asked)| Some((name.to_owned(), asked.join().ok()??))).collect()
    })
}

fn ask_node(node: &Node) -> Option<NodeStatus> {
    node.init().ok()?;
    ask(&node.path(AGENT_SOCKET))
}

fn ask(socket: &Path) -> Option<NodeStatus> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(patience(ANSWER_TIMEOUT))).ok()?;
    stream.write_all(&serde_json::to_vec(&Request::NodeStatus).ok()?).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    match serde_json::from_str(&line).ok()? {
        Answer::NodeStatus(status) => Some(status),
        _ => None,
    }
}
