//! What lets a restarted server answer at once, before the agent or the API does.

use seaway_model::SliceRef;
use serde::{Deserialize, Serialize};

use super::service::{SliceRecords, Spec};

/// The names of the cluster as they are kept in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Services by `<service>.<namespace>` in wire form.
    pub services: Vec<(Vec<u8>, Spec)>,
    /// Slices, with the Service they belong to.
    pub slices: Vec<(SliceRef, Vec<u8>, SliceRecords)>,
}
