//! What `up` says while it works, and where the time went.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines on standard error, each with the time since the start; shared by all
/// threads of a command.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    terminal: bool,
    steps: Mutex<Vec<Step>>,
}

/// One step that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// When it began, after the start of the command.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
}

// === impl Progress ===

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), terminal: std::io::stderr().is_terminal(), steps: Mutex::new(Vec::new()) }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Does `work` and says so when it has succeeded.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn step<T, E>(&self, what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = self.elapsed();
        let result = work()?;
        let ended = self.elapsed();
        self.line(what);
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(Step { what: what.to_owned(), began, ended });
        Ok(result)
    }

    /// Prints a line that stays.
    pub fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        // A closed standard error is no reason to fail.
        let _ = writeln!(std::io::stderr().lock(), "{clear}{:7.2} s  {text}", self.elapsed().as_secs_f64());
    }

    /// Shows a passing state: on a terminal only, overwritten by the next line.
    pub fn passing(&self, text: &str) {
        if self.terminal {
            let short: String = text.chars().take(100).collect();
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K{:7.2} s  {short}", self.elapsed().as_secs_f64());
            let _ = stderr.flush();
        }
    }

    /// The steps, in the order they began.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        steps.sort_by_key(|step| step.began);
        steps
    }
}
