//! What can be wrong with a configuration file.

use std::fmt;
use std::path::PathBuf;

use seaway_model::{Diagnose, ErrorId};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The text is no YAML, has an unknown key or a value of the wrong type.
    #[error("configuration {origin} is malformed: {reason}")]
    Malformed {
        /// Where the text came from.
        origin: String,
        /// Place and reason.
        reason: String,
    },
    /// Values that cannot be used, all of them.
    #[error("configuration has {} unusable value(s): {}", fields.len(), Joined(fields))]
    Invalid {
        /// Each unusable value.
        fields: Vec<InvalidField>,
    },
}

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// Path of the key: `vxlan.id`.
    pub field: &'static str,
    /// The value given.
    pub value: String,
    /// Why it cannot be used.
    pub reason: String,
}

struct Joined<'a>(&'a [InvalidField]);

// === impl ConfigError ===

impl Diagnose for ConfigError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Unreadable { .. } => 501,
            Self::Malformed { .. } => 502,
            Self::Invalid { .. } => 503,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => format!(
                "mount the ConfigMap seaway-config so that {} exists, or name another file with --config",
                path.display()
            ),
            Self::Malformed { .. } => {
                "compare the key with docs/reference/configuration.md; `seaway agent --validate` checks a file without running"
                    .to_owned()
            }
            Self::Invalid { .. } => "change the named values; docs/reference/configuration.md gives their ranges".to_owned(),
        }
    }
}

// === impl InvalidField ===

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.reason)
    }
}

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, field) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field}")?;
        }
        Ok(())
    }
}
