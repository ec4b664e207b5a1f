//! The DNS server's Unix socket, seen from the asking side.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use seaway_model::dns_api::{DNS_SOCKET, DnsAnswer, DnsRequest};

use crate::CliError;
use crate::output::Format;

/// A question waits for upstreams for some seconds at most, and a pod's resolver asks four names.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of every verb that asks the DNS server.
#[derive(Debug, Clone, Args)]
pub struct DnsQueryArguments {
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    /// The server's socket.
    #[arg(long, value_name = "PATH", default_value = DNS_SOCKET, env = "SEAWAY_DNS_SOCKET")]
    pub(super) socket: PathBuf,
}

/// Answers as they come.
pub(super) struct Answers {
    socket: PathBuf,
    lines: Lines<BufReader<UnixStream>>,
}

// === impl DnsQueryArguments ===

impl DnsQueryArguments {
    /// Asks and waits for the one answer. A refusal is an error.
    pub(super) fn ask(&self, request: &DnsRequest) -> Result<DnsAnswer, CliError> {
        let mut answers = self.open(request, Some(ANSWER_TIMEOUT))?;
        answers.next().unwrap_or_else(|| Err(self.broken(std::io::ErrorKind::UnexpectedEof.into())))
    }

    /// Asks for a stream of answers.
    pub(super) fn stream(&self, request: &DnsRequest) -> Result<Answers, CliError> {
        self.open(request, None)
    }

    /// The error for an answer that does not fit the question.
    pub(super) fn unexpected(&self, answer: &DnsAnswer) -> CliError {
        let text: String = format!("{answer:?}").chars().take(80).collect();
        CliError::Answer { socket: self.socket.clone(), verb: "dns", text }
    }

    fn broken(&self, source: std::io::Error) -> CliError {
        CliError::DnsSocket { socket: self.socket.clone(), source }
    }

    fn open(&self, request: &DnsRequest, patience: Option<Duration>) -> Result<Answers, CliError> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|source| self.broken(source))?;
        let text = serde_json::to_vec(request).map_err(|error| self.broken(error.into()))?;
        stream
            .set_read_timeout(patience)
            .and_then(|()| stream.write_all(&text))
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .map_err(|source| self.broken(source))?;
        Ok(Answers { socket: self.socket.clone(), lines: BufReader::new(stream).lines() })
    }
}

// === impl Answers ===

impl Iterator for Answers {
    type Item = Result<DnsAnswer, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(source) => return Some(Err(CliError::DnsSocket { socket: self.socket.clone(), source })),
        };
        Some(match serde_json::from_str(&line) {
            Ok(DnsAnswer::Failed(source)) => Err(CliError::DnsRefused { source }),
            Ok(answer) => Ok(answer),
            Err(_) => {
                let text = line.chars().take(80).collect();
                Err(CliError::Answer { socket: self.socket.clone(), verb: "dns", text })
            }
        })
    }
}
