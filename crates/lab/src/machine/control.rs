//! What a node's init process is asked and answers: one JSON line each way per
//! connection on the Unix socket `control.sock` in the lab's directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::socket::SocketKind;
use crate::patience::patience;

/// File name of the socket.
pub const SOCKET: &str = "control.sock";
/// An init process answers in microseconds; a minute means it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A program for a node's init process to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramSpec {
    /// Name, unique on the node.
    pub name: String,
    /// The program and its arguments; found on the node's `PATH`.
    pub argv: Vec<String>,
    /// Variables beside `PATH` and `HOME`.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Where it starts; `/` otherwise.
    #[serde(default)]
    pub working_dir: Option<PathBuf>,
    /// Whether it is started again when it ends.
    #[serde(default)]
    pub restart: bool,
    /// Path inside the node for its output;
    /// `/var/log/seaway-lab/NAME.log` otherwise, which is on the host too.
    #[serde(default)]
    pub log_file: Option<PathBuf>,
    /// Cgroup under the node's root, such as `/system/kubelet`; `/init`
    /// otherwise. Made in every hierarchy.
    #[serde(default)]
    pub cgroup: Option<String>,
}

/// How a program fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Name of the program.
    pub name: String,
    /// Pid inside the node while it runs.
    pub pid: Option<i32>,
    /// How often it was started.
    pub starts: u32,
    /// How it ended the last time, in words.
    pub last_exit: Option<String>,
    /// The last lines of its output; only filled in when it ended.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

/// A request to a node's init process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "op")]
pub enum Request {
    /// Start a program; one of that name that ended is forgotten.
    Start {
        /// The program.
        program: ProgramSpec,
    },
    /// Stop a program: SIGTERM, and SIGKILL after the grace period.
    Stop {
        /// Name of the program.
        name: String,
        /// Time it has to end by itself.
        grace_millis: u64,
    },
    /// Tell how all programs fare.
    List,
    /// Make a socket; it comes beside the answer (`SCM_RIGHTS`).
    Socket {
        /// What kind.
        kind: SocketKind,
    },
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done; how all programs fare.
    Done(Vec<ProgramStatus>),
    /// It cannot be done.
    Refused(String),
}

/// Sends one request to the init process whose socket is in `directory`.
pub fn ask(directory: &Path, request: &Request) -> std::io::Result<Answer> {
    // Through a descriptor, because a socket's path may have 107 bytes only.
    let opened = File::open(directory)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd()))?;
    stream.set_read_timeout(Some(patience(ANSWER_TIMEOUT)))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
