//! Daemon
