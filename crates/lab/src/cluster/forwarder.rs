//! From the host's loopback into a lab: `127.0.0.1:PORT` forwarded to an
//! address dialed from a node's network namespace.
//!
//! One process per lab (`seaway lab forwarder`, started by `up`) listens; it is
//! asked over a Unix socket in the lab's directory ([`request`]). What it
//! forwards is in a file beside the socket, so that a restarted forwarder
//! offers the same ports.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::ClusterError;
use crate::machine::{LabDir, ProcessId};
use crate::patience::patience;

mod metrics;
mod scrape;
mod serve;

pub use serve::serve;

/// A forward answers at once; longer means that the process is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the process may take to open its socket.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// One forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// Port on 127.0.0.1 of the host.
    pub port: u16,
    /// Node from whose network namespace is dialed.
    pub node: String,
    /// Address dialed.
    pub target: SocketAddr,
}

/// A port that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardRequest {
    /// First port to try.
    pub port: u16,
    /// Whether the next free port will do.
    pub or_next: bool,
    /// Node from whose network namespace is dialed.
    pub node: String,
    /// Address dialed.
    pub target: SocketAddr,
}

/// The forwarder's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// The port that is forwarded now.
    Forwarding(Forward),
    /// The port cannot be had.
    Refused(String),
}

/// Asks the lab's forwarder for a port; an equal forward is reused.
///
/// # Errors
/// No forwarder, or no port.
pub fn request(dir: &LabDir, wanted: &ForwardRequest) -> Result<Forward, ClusterError> {
    let answer =
        exchange(dir, wanted).map_err(|source| ClusterError::Forwarder { lab: dir.name().to_owned(), source })?;
    match answer {
        Answer::Forwarding(forward) => Ok(forward),
        Answer::Refused(reason) => Err(ClusterError::PortTaken { port: wanted.port, reason }),
    }
}

/// Starts the forwarder of a lab and waits until it answers.
///
/// # Errors
/// The program cannot be started, or does not open its socket.
pub fn start(dir: &LabDir) -> Result<ProcessId, ClusterError> {
    let broken = |source| ClusterError::Forwarder { lab: dir.name().to_owned(), source };
    // A socket left by a killed forwarder would refuse connections only.
    let _ = std::fs::remove_file(socket_path(dir));
    let log = std::fs::File::create(dir.path().join("forwarder.log")).map_err(broken)?;
    let mut command = std::process::Command::new(std::env::current_exe().map_err(broken)?);
    command.args(["lab", "forwarder", "--name", dir.name()]);
    command.current_dir("/").stdin(std::process::Stdio::null());
    command.stdout(log.try_clone().map_err(broken)?).stderr(log);
    // Its own process group: Ctrl-C at `lab up` is not for it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(broken)?;
    let give_up = Instant::now() + patience(START_TIMEOUT);
    while UnixStream::connect(socket_path(dir)).is_err() {
        let ended = child.try_wait().map_err(broken)?;
        if ended.is_some() || Instant::now() > give_up {
            let log = std::fs::read_to_string(dir.path().join("forwarder.log")).unwrap_or_default();
            return Err(broken(std::io::Error::other(log.trim().to_owned())));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let process = ProcessId::of(child.id().cast_signed())
        .ok_or_else(|| broken(std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    let text = serde_json::to_string(&process).map_err(|error| broken(error.into()))?;
    std::fs::write(process_path(dir), text).map_err(broken)?;
    Ok(process)
}

/// Ends the forwarder of a lab, if it runs.
pub fn stop(dir: &LabDir) {
    if let Some(process) = running(dir) {
        // The only failure is that it ended meanwhile.
        let _ = process.signal(rustix::process::Signal::KILL);
    }
}

/// The forwarder's process, if it runs.
#[must_use]
pub fn running(dir: &LabDir) -> Option<ProcessId> {
    let text = std::fs::read_to_string(process_path(dir)).ok()?;
    serde_json::from_str::<ProcessId>(&text).ok().filter(|process| process.alive())
}

/// Where the lab's metrics are, while its forwarder runs.
#[must_use]
pub fn metrics_url(dir: &LabDir) -> Option<String> {
    running(dir)?;
    let port: u16 = std::fs::read_to_string(metrics_path(dir)).ok()?.trim().parse().ok()?;
    Some(format!("http://127.0.0.1:{port}/metrics"))
}

fn exchange(dir: &LabDir, wanted: &ForwardRequest) -> std::io::Result<Answer> {
    let stream = UnixStream::connect(socket_path(dir))?;
    stream.set_read_timeout(Some(patience(ANSWER_TIMEOUT)))?;
    let mut line = serde_json::to_vec(wanted)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

fn socket_path(dir: &LabDir) -> PathBuf {
    dir.path().join("forwarder.sock")
}

fn process_path(dir: &LabDir) -> PathBuf {
    dir.path().join("forwarder.json")
}

fn forwards_path(dir: &LabDir) -> PathBuf {
    dir.path().join("forwards.json")
}

/// File with the port of the metrics.
fn metrics_path(dir: &LabDir) -> PathBuf {
    dir.path().join("metrics-port")
}
