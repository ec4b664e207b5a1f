//! The agent's Unix socket, seen from the asking side: one request, one
//! answer, or a stream of answers.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seaway_model::agent_api::{Answer, Request};

use crate::CliError;

/// Reading back everything for an audit is the slowest answer; a minute is ample.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Enough of a strange answer to recognise who sent it.
const QUOTED_CHARACTERS: usize = 80;

/// How to reach the agent.
#[derive(Debug, Clone)]
pub struct AgentClient {
    socket: PathBuf,
}

/// Answers as they come, until the agent closes or the caller drops this.
#[derive(Debug)]
pub struct Answers {
    socket: PathBuf,
    verb: &'static str,
    lines: Lines<BufReader<UnixStream>>,
}

// === impl AgentClient ===

impl AgentClient {
    /// A client of the agent that listens on `socket`. Does not connect yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks and waits for the one answer. A refusal is an error.
    ///
    /// # Errors
    /// See [`CliError`].
    pub fn ask(&self, request: &Request) -> Result<Answer, CliError> {
        let mut answers = self.open(request, Some(ANSWER_TIMEOUT))?;
        let closed = || CliError::Conversation {
            socket: self.socket.clone(),
            source: std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
        };
        answers.next().unwrap_or_else(|| Err(closed()))
    }

    /// Asks for a stream of answers.
    ///
    /// # Errors
    /// See [`CliError`].
    pub fn stream(&self, request: &Request) -> Result<Answers, CliError> {
        self.open(request, None)
    }

    /// The error for an answer that does not fit the question.
    #[must_use]
    pub fn unexpected(&self, request: &Request, answer: &Answer) -> CliError {
        CliError::Answer { socket: self.socket.clone(), verb: verb_name(request), text: quote(&format!("{answer:?}")) }
    }

    fn open(&self, request: &Request, timeout: Option<Duration>) -> Result<Answers, CliError> {
        let broken = |source| CliError::Conversation { socket: self.socket.clone(), source };
        let mut stream = UnixStream::connect(&self.socket).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => CliError::NoAgent { socket: self.socket.clone() },
            _ => CliError::Connect { socket: self.socket.clone(), source },
        })?;
        stream.set_read_timeout(timeout).map_err(broken)?;
        let text = serde_json::to_vec(request).map_err(|error| broken(error.into()))?;
        stream.write_all(&text).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(broken)?;
        Ok(Answers { socket: self.socket.clone(), verb: verb_name(request), lines: BufReader::new(stream).lines() })
    }
}

// === impl Answers ===

impl Iterator for Answers {
    type Item = Result<Answer, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(source) => return Some(Err(CliError::Conversation { socket: self.socket.clone(), source })),
        };
        Some(match serde_json::from_str(&line) {
            Ok(Answer::Failed(source)) => Err(CliError::Refused { source }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(CliError::Answer { socket: self.socket.clone(), verb: self.verb, text: quote(&line) }),
        })
    }
}

fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED_CHARACTERS).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

fn verb_name(request: &Request) -> &'static str {
    match request {
        Request::Add(_) => "ADD",
        Request::Delete(_) => "DEL",
        Request::Check(_) => "CHECK",
        Request::Status => "STATUS",
        Request::GarbageCollect { .. } => "GC",
        Request::NodeStatus => "status",
        Request::Endpoints => "endpoints",
        Request::Audit => "audit",
        Request::Monitor => "monitor",
        Request::Follow { .. } => "follow",
        Request::Services { .. } => "service",
    }
}

#[cfg(test)]
mod tests;
