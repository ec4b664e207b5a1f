//! Where answers go: a writer, the shape asked for, and whether to colour.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::CliError;

/// Shape of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the field names are stable.
    Json,
}

/// Where answers go.
pub struct Output<'a> {
    writer: &'a mut dyn Write,
    /// Colour marks that people look for.
    pub colour: bool,
}

/// A mark that is coloured on a terminal and plain elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Bad,
    Unneeded,
}

// === impl Output ===

impl<'a> Output<'a> {
    /// Writes to `writer`; colours only when told to.
    pub fn new(writer: &'a mut dyn Write, colour: bool) -> Self {
        Self { writer, colour }
    }

    /// Writes and flushes text, so that a stream is seen at once.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
        written.map_err(|source| CliError::Output { source })
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Output { source: error.into() })?;
        self.text(&(text + "\n"))
    }

    /// Writes a value as one line of JSON.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::Output { source: error.into() })?;
        self.text(&(text + "\n"))
    }
}

// === impl Mark ===

impl Mark {
    /// `text` in the mark's colour.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Unneeded => 33,
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
