//! Verbs
