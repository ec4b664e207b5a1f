//! PID 1 of a node: reaps the dead, runs the programs it is asked to run, and
//! answers on the control socket. One thread, one poll loop.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::programs::{Programs, Wish};
use crate::error::{IoContext, Result};
use crate::machine::control::{Answer, ProgramSpec, Request, SOCKET};
use crate::machine::launch;
use crate::machine::socket;

/// The lab's directory for this node, as the node sees it.
const CONTROL: &str = "/run/seaway-lab";
/// Programs to start again after a power cycle.
const LASTING: &str = "programs.json";
/// Directory of logs, as the node sees it.
const LOGS: &str = "/var/log/seaway-lab";
/// Longest wait for a request that has been begun.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time programs have when the node is asked to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How much of a log's end is looked at for the last lines.
const LAST_LINES_BYTES: u64 = 4096;
/// How many of the last lines are told.
const LAST_LINES: usize = 15;

/// The init process's state.
pub(super) struct Supervisor {
    programs: Programs,
    signals: SignalFd,
    listener: UnixListener,
    ending: bool,
}

// === impl Supervisor ===

impl Supervisor {
    /// Opens the control socket and brings back the programs of before the last
    /// power cycle.
    pub(super) fn open() -> Result<Self> {
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            wanted.add(signal);
        }
        wanted.thread_block().on_system("hold back signals", "the init process")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&wanted, flags).on_system("receive signals", "the init process")?;
        let socket = Path::new(CONTROL).join(SOCKET);
        // Left by the life before a power cycle.
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).on_file("listen on", &socket)?;
        let mut programs = Programs::default();
        for spec in lasting() {
            // Names and commands were good when they were written.
            let _ = programs.add(spec, Instant::now());
        }
        Ok(Self { programs, signals, listener, ending: false })
    }

    /// Runs until the node is asked to end.
    pub(super) fn run(&mut self) -> Result<()> {
        loop {
            for wish in self.programs.wishes(Instant::now()) {
                self.fulfil(wish);
            }
            if self.ending && !self.programs.any_running() {
                return Ok(());
            }
            let timeout = match self.programs.next_due() {
                // One millisecond more: the timeout is cut down to whole ones.
                Some(due) => {
                    PollTimeout::try_from(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                        .unwrap_or(PollTimeout::MAX)
                }
                None => PollTimeout::NONE,
            };
            let mut sources = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut sources, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).on_system("wait", "the init process"),
            }
            let [signalled, asked] = sources.map(|source| source.any() == Some(true));
            if signalled {
                self.take_signals();
            }
            if asked && let Ok((stream, _)) = self.listener.accept() {
                // A client that breaks off hurts only itself.
                let _ = self.serve(&stream);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGCHLD as u32 {
                continue;
            }
            self.ending = true;
            for pid in self.programs.stop_all(SHUTDOWN_GRACE, Instant::now()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        self.reap();
    }

    /// Several ends may come with one signal, and any orphan of the node ends
    /// here.
    fn reap(&mut self) {
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit status {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("killed by {signal}")),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(name) = self.programs.ended(pid.as_raw(), how, Instant::now()) {
                let lines = self.programs.spec(&name).map(|spec| last_lines(&log_path(spec)));
                self.programs.remember_lines(&name, lines.unwrap_or_default());
            }
        }
    }

    fn fulfil(&mut self, wish: Wish) {
        match wish {
            Wish::Kill(pid) => {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            Wish::Start(name) => {
                let Some(spec) = self.programs.spec(&name) else { return };
                match spawn(spec) {
                    Ok(pid) => self.programs.started(&name, pid, Instant::now()),
                    Err(error) => self.programs.failed_to_start(&name, error.to_string(), Instant::now()),
                }
            }
        }
    }

    fn serve(&mut self, stream: &UnixStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let answer = match serde_json::from_str(&line) {
            Ok(Request::Socket { kind }) => match socket::make(kind) {
                Ok(made) => return socket::answer(stream, b"\n", &made),
                Err(error) => Answer::Refused(error.to_string()),
            },
            Ok(request) => self.answer(request),
            Err(error) => Answer::Refused(error.to_string()),
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        (&*stream).write_all(&bytes)
    }

    fn answer(&mut self, request: Request) -> Answer {
        let now = Instant::now();
        let done = match request {
            Request::List | Request::Socket { .. } => Ok(()),
            Request::Start { program } => {
                let name = program.name.clone();
                find_program(&program).and_then(|()| self.programs.add(program, now)).and_then(|()| {
                    for wish in self.programs.wishes(now) {
                        self.fulfil(wish);
                    }
                    self.keep_lasting()?;
                    let status = self.programs.statuses().into_iter().find(|status| status.name == name);
                    match status {
                        Some(status) if status.pid.is_none() => Err(status.last_exit.unwrap_or_default()),
                        _ => Ok(()),
                    }
                })
            }
            Request::Stop { name, grace_millis } => {
                self.programs.stop(&name, Duration::from_millis(grace_millis), now).and_then(|pid| {
                    if let Some(pid) = pid {
                        // A stopped process hears SIGTERM only once it goes on.
                        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
                    }
                    self.keep_lasting()
                })
            }
        };
        match done {
            Ok(()) => Answer::Done(self.programs.statuses()),
            Err(reason) => Answer::Refused(reason),
        }
    }

    fn keep_lasting(&self) -> Result<(), String> {
        let path = Path::new(CONTROL).join(LASTING);
        let text = serde_json::to_vec(&self.programs.lasting()).map_err(|error| error.to_string())?;
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

fn lasting() -> Vec<ProgramSpec> {
    let text = fs::read(Path::new(CONTROL).join(LASTING)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn log_path(spec: &ProgramSpec) -> PathBuf {
    spec.log_file.clone().unwrap_or_else(|| Path::new(LOGS).join(format!("{}.log", spec.name)))
}

/// Refuses early what would only fail after the start.
fn find_program(spec: &ProgramSpec) -> Result<(), String> {
    let Some(program) = spec.argv.first() else { return Ok(()) };
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    if found { Ok(()) } else { Err(format!("there is no program {program} in the node")) }
}

fn spawn(spec: &ProgramSpec) -> std::io::Result<i32> {
    let path = log_path(spec);
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    let mut command = launch::command_in(spec.cgroup.as_deref(), &spec.argv);
    command
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(spec.working_dir.as_deref().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // Not waited for here: all children are reaped in one place.
    Ok(command.spawn()?.id().cast_signed())
}

fn last_lines(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINES_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_LINES_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LAST_LINES)).map(|&line| line.to_owned()).collect()
}
