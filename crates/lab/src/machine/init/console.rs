//! What an init process tells the process that started it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, LabError, Result};

/// One line on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Report {
    /// The first stage is done.
    Started {
        /// Pid of PID 1 as the machine sees it.
        pid: i32,
    },
    /// The namespace set is made and takes requests.
    Ready,
    /// It cannot be made.
    Failed(String),
}

/// Writes one line.
pub(super) fn report(report: &Report) -> Result<()> {
    let mut line = serde_json::to_vec(report)
        .map_err(|error| LabError::State { path: "standard output".into(), reason: error.to_string() })?;
    line.push(b'\n');
    let mut output = std::io::stdout();
    output.write_all(&line).and_then(|()| output.flush()).on_system("report", "the init process")
}

/// Lets go of standard output, so that the starter reads its end.
pub(super) fn close() -> Result<()> {
    let path = Path::new("/dev/null");
    let null = File::options().write(true).open(path).on_file("open", path)?;
    nix::unistd::dup2_stdout(&null).on_system("let go of standard output", "the init process")
}

/// An error with its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
