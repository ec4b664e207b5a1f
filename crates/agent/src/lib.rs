//! Agent
