//! Processes named so that a reused pid is never mistaken for them.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process: its pid and when it started, in clock ticks after boot
/// (proc(5), field 22 of `stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// Pid in the root pid namespace.
    pub pid: i32,
    /// Start time in clock ticks after boot.
    pub start_ticks: u64,
}

// === impl ProcessId ===

impl ProcessId {
    /// The process that has `pid` now, unless it is a zombie.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold spaces and parentheses; fields count from
        // the last closing one.
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        // Field 3 was taken above; field 22 is 18 fields later.
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A descriptor of the process, if it still runs.
    #[must_use]
    pub fn open(self) -> Option<OwnedFd> {
        let descriptor = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after opening: from here on the descriptor names this process.
        self.alive().then_some(descriptor)
    }

    /// Sends a signal, if the process still runs.
    pub fn signal(self, signal: Signal) -> std::io::Result<()> {
        match self.open() {
            Some(descriptor) => match pidfd_send_signal(descriptor, signal) {
                Err(error) if error.raw_os_error() == Errno::ESRCH as i32 => Ok(()),
                other => Ok(other?),
            },
            None => Ok(()),
        }
    }

    /// The words the process was started with.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

/// Whether a command line is the program people call `name`: the base name of
/// its first word, or of one of its first two arguments (`seaway agent`).
#[must_use]
pub(super) fn is_program(arguments: &[String], name: &str) -> bool {
    let base = |word: &str| word.rsplit('/').next() == Some(name);
    let multi_call = arguments.first().is_some_and(|word| word.rsplit('/').next() == Some("seaway"));
    arguments.first().is_some_and(|word| base(word))
        || (multi_call && arguments.get(1).is_some_and(|word| word == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let own = ProcessId::of(std::process::id().cast_signed()).unwrap();
        assert!(own.alive());
        assert!(!ProcessId { start_ticks: own.start_ticks + 1, ..own }.alive());
    }

    #[test]
    fn programs_are_known_by_name_or_verb() {
        assert!(is_program(&words("/cache/bin/kubelet --config x"), "kubelet"));
        assert!(is_program(&words("/usr/bin/seaway agent"), "agent"));
        assert!(!is_program(&words("/usr/bin/seaway lab exec n1 agent"), "agent"));
        assert!(!is_program(&words("sleep agent"), "agent"));
    }
}
