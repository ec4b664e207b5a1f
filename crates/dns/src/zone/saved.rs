//! What lets a restarted server answer at once, before the agent or the API does.

use std::sync::Arc;

use seaway_model::SliceRef;
use serde::{Deserialize, Serialize};

use super::claims::KeptClaim;
use super::service::{SliceRecords, Spec};
use crate::views::SavedViews;

/// The names of the cluster as they are kept in a file. Shared with the zone: there is no second copy in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Services by `<service>.<namespace>` in wire form.
    pub services: Vec<(Arc<[u8]>, Arc<Spec>)>,
    /// Slices, with the Service they belong to.
    pub slices: Vec<(SliceRef, Arc<[u8]>, Arc<SliceRecords>)>,
    /// Services of other clusters, and their slices.
    pub imports: Vec<(Arc<[u8]>, Arc<Spec>)>,
    /// See `imports`.
    pub imported_slices: Vec<(SliceRef, Arc<[u8]>, Arc<SliceRecords>)>,
    /// Names in zones of our own.
    pub names: Vec<KeptClaim>,
    /// What the operator says of names.
    #[serde(default)]
    pub views: SavedViews,
}
