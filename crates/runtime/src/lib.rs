//! What every Seaway daemon needs around its work (layer 2): [`config`] from
//! one YAML file, [`telemetry`] to standard error, the [`admin`] HTTP server,
//! [`workers`] for its
//! tasks, and [`shutdown`] on SIGTERM.
//!
//! Nothing here knows about networks, Kubernetes objects or the kernel.

pub mod admin;
pub mod config;
pub mod shutdown;
pub mod telemetry;
pub mod workers;

pub use admin::{Introspect, Metrics};
pub use config::{AgentConfig, ConfigError, ControllerConfig, RawConfig};
