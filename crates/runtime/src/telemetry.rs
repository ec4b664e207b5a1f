//! Logs of a daemon, on standard error, one line per finished thing.

use seaway_model::{Diagnose, ErrorId};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Environment variable that wins over the configured filter.
pub const FILTER_VARIABLE: &str = "SEAWAY_LOG";

/// Why logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be parsed.
    #[error("log filter {filter:?} is malformed")]
    Filter {
        /// The text given.
        filter: String,
        /// Place and reason.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process already takes the logs.
    #[error("logs of this process are already set up")]
    AlreadySet {
        /// What the library said.
        source: tracing_subscriber::util::TryInitError,
    },
}

/// Sends logs to standard error as `log` says; `SEAWAY_LOG` wins over its filter.
///
/// # Errors
/// A malformed filter, or a second call in one process.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&text).map_err(|source| TelemetryError::Filter { filter: text.clone(), source })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let outcome = match log.format {
        LogFormat::Text => subscriber.finish().try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).finish().try_init(),
    };
    outcome.map_err(|source| TelemetryError::AlreadySet { source })
}

// === impl TelemetryError ===

impl Diagnose for TelemetryError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::Filter { .. } => 504,
            Self::AlreadySet { .. } => 505,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::Filter { .. } => {
                "write it as `info` or `info,seaway_agent=debug` in log.filter or SEAWAY_LOG".to_owned()
            }
            Self::AlreadySet { .. } => "call telemetry::init once, in main".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_filter_is_refused_with_its_text() {
        let log = Log { filter: "seaway=loudest".to_owned(), ..Log::default() };
        let error = init(&log).unwrap_err();
        assert_eq!(error.id().to_string(), "SW0504");
        assert!(error.to_string().contains("seaway=loudest"));
    }
}
