//! The programs of a node as its init process knows them: which are to run,
//! when one that ended is started again, what is told about them.
//!
//! Pure: time comes in, wishes go out; [`super::supervisor`] fulfils them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::machine::control::{ProgramSpec, ProgramStatus};

/// Pause before the first new start, doubled for each start that fails soon.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A program that ran this long is taken as healthy again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// What is to be done for a program now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Start it.
    Start(String),
    /// Kill the process with this pid.
    Kill(i32),
}

/// All programs of a node.
#[derive(Debug, Default)]
pub(super) struct Programs {
    known: BTreeMap<String, Program>,
}

#[derive(Debug)]
struct Program {
    spec: ProgramSpec,
    running: Option<Running>,
    starts: u32,
    pause: Duration,
    /// When it is started again.
    due: Option<Instant>,
    /// When it is killed, having been asked to stop.
    kill_at: Option<Instant>,
    last_exit: Option<String>,
    last_lines: Vec<String>,
}

#[derive(Debug)]
struct Running {
    pid: i32,
    since: Instant,
}

// === impl Programs ===

impl Programs {
    /// Takes a program in, to be started at once.
    pub(super) fn add(&mut self, spec: ProgramSpec, now: Instant) -> Result<(), String> {
        if spec.argv.is_empty() {
            return Err(format!("{} has no command", spec.name));
        }
        if spec.name.is_empty() || spec.name.contains('/') || spec.name.starts_with('.') {
            return Err(format!("{:?} is no name for a program", spec.name));
        }
        if let Some(running) = self.known.get(&spec.name).and_then(|program| program.running.as_ref()) {
            return Err(format!("{} runs already, as process {}", spec.name, running.pid));
        }
        let program = Program {
            running: None,
            starts: 0,
            pause: FIRST_PAUSE,
            due: Some(now),
            kill_at: None,
            last_exit: None,
            last_lines: Vec::new(),
            spec,
        };
        self.known.insert(program.spec.name.clone(), program);
        Ok(())
    }

    /// Notes that a program is to stop; returns the pid to ask.
    pub(super) fn stop(&mut self, name: &str, grace: Duration, now: Instant) -> Result<Option<i32>, String> {
        let program = self.known.get_mut(name).ok_or_else(|| format!("there is no program {name}"))?;
        program.spec.restart = false;
        program.due = None;
        let pid = program.running.as_ref().map(|running| running.pid);
        program.kill_at = pid.map(|_| now + grace);
        Ok(pid)
    }

    /// Notes that all programs are to stop; returns the pids to ask.
    pub(super) fn stop_all(&mut self, grace: Duration, now: Instant) -> Vec<i32> {
        let names: Vec<String> = self.known.keys().cloned().collect();
        names.iter().filter_map(|name| self.stop(name, grace, now).ok().flatten()).collect()
    }

    /// Notes that a program was started.
    pub(super) fn started(&mut self, name: &str, pid: i32, now: Instant) {
        if let Some(program) = self.known.get_mut(name) {
            program.running = Some(Running { pid, since: now });
            program.starts += 1;
            program.due = None;
        }
    }

    /// Notes that a program could not be started.
    pub(super) fn failed_to_start(&mut self, name: &str, reason: String, now: Instant) {
        if let Some(program) = self.known.get_mut(name) {
            program.end(reason, now);
        }
    }

    /// Notes that a process ended; returns the program's name if it was one.
    pub(super) fn ended(&mut self, pid: i32, how: String, now: Instant) -> Option<String> {
        let program = self
            .known
            .values_mut()
            .find(|program| program.running.as_ref().is_some_and(|running| running.pid == pid))?;
        program.end(how, now);
        Some(program.spec.name.clone())
    }

    /// Keeps the last lines of a program that ended.
    pub(super) fn remember_lines(&mut self, name: &str, lines: Vec<String>) {
        if let Some(program) = self.known.get_mut(name) {
            program.last_lines = lines;
        }
    }

    /// What is due at `now`.
    pub(super) fn wishes(&mut self, now: Instant) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for (name, program) in &mut self.known {
            if program.due.is_some_and(|due| due <= now) {
                program.due = None;
                wishes.push(Wish::Start(name.clone()));
            }
            if program.kill_at.is_some_and(|at| at <= now) {
                program.kill_at = None;
                wishes.extend(program.running.as_ref().map(|running| Wish::Kill(running.pid)));
            }
        }
        wishes
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.known.values().flat_map(|program| [program.due, program.kill_at]).flatten().min()
    }

    /// Whether any program runs.
    pub(super) fn any_running(&self) -> bool {
        self.known.values().any(|program| program.running.is_some())
    }

    /// The specification of a program.
    pub(super) fn spec(&self, name: &str) -> Option<&ProgramSpec> {
        self.known.get(name).map(|program| &program.spec)
    }

    /// The programs that are to run again after a power cycle.
    pub(super) fn lasting(&self) -> Vec<&ProgramSpec> {
        self.known.values().map(|program| &program.spec).filter(|spec| spec.restart).collect()
    }

    /// How all programs fare.
    pub(super) fn statuses(&self) -> Vec<ProgramStatus> {
        self.known
            .values()
            .map(|program| ProgramStatus {
                name: program.spec.name.clone(),
                pid: program.running.as_ref().map(|running| running.pid),
                starts: program.starts,
                last_exit: program.last_exit.clone(),
                last_lines: program.last_lines.clone(),
            })
            .collect()
    }
}

// === impl Program ===

impl Program {
    fn end(&mut self, how: String, now: Instant) {
        let ran = self.running.take().map_or(Duration::ZERO, |running| now.saturating_duration_since(running.since));
        self.last_exit = Some(how);
        self.kill_at = None;
        if ran >= HEALTHY_AFTER {
            self.pause = FIRST_PAUSE;
        }
        if self.spec.restart {
            self.due = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(restart: bool) -> ProgramSpec {
        ProgramSpec { name: "p".into(), argv: vec!["p".into()], restart, ..ProgramSpec::default() }
    }

    #[test]
    fn a_lasting_program_is_started_again_after_growing_pauses() {
        let (mut programs, start) = (Programs::default(), Instant::now());
        programs.add(program(true), start).unwrap();
        let mut now = start;
        let mut pauses = Vec::new();
        for pid in 1..=8 {
            assert_eq!(programs.wishes(now), [Wish::Start("p".into())]);
            programs.started("p", pid, now);
            assert_eq!(programs.ended(pid, "exit status 1".into(), now), Some("p".into()));
            let due = programs.next_due().unwrap();
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(programs.statuses()[0].starts, 8);
    }

    #[test]
    fn a_stopped_program_is_killed_after_its_grace_and_stays_down() {
        let (mut programs, now) = (Programs::default(), Instant::now());
        programs.add(program(true), now).unwrap();
        programs.wishes(now);
        programs.started("p", 7, now);
        assert!(programs.add(program(true), now).unwrap_err().contains("runs already"));
        let grace = Duration::from_secs(1);
        assert_eq!(programs.stop("p", grace, now), Ok(Some(7)));
        assert_eq!(programs.wishes(now), []);
        assert_eq!(programs.wishes(now + grace), [Wish::Kill(7)]);
        programs.ended(7, "killed".into(), now + grace);
        assert_eq!((programs.next_due(), programs.any_running()), (None, false));
        assert!(programs.lasting().is_empty());
    }

    #[test]
    fn foreign_processes_are_no_programs() {
        let mut programs = Programs::default();
        assert_eq!(programs.ended(3, String::new(), Instant::now()), None);
        assert!(programs.stop("x", Duration::ZERO, Instant::now()).is_err());
    }
}
