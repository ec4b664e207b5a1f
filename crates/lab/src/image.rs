//! Images without a registry and without a container engine.
//!
//! [`ImageStore`] keeps images in the cache directory as one OCI image layout;
//! they come from an archive ([`ImageStore::load`]), a program or a directory
//! ([`ImageStore::build`]), a registry ([`ImageStore::pull`]) or are part of
//! the product ([`Builtin`]). [`ImageStore::template`] unpacks a set of them
//! once, with a short-lived containerd; [`Template::prepare_node_root`] gives
//! each node a containerd root that shares the unpacked layers.

mod archive;
mod builtin;
mod check;
pub mod cli;
mod ctr;
mod digest;
mod error;
mod in_use;
mod layer;
mod name;
mod node_root;
mod oci;
mod pull;
mod registry;
mod running;
mod staging;
mod store;
mod template;

/// The lab that verbs mean without `--name`.
const DEFAULT_LAB: &str = "default";

pub use builtin::{Builtin, BuiltinPrograms};
pub use check::{StuckPod, check_images, images_of_manifests, stuck_pods};
pub use digest::Digest;
pub use error::ImageError;
pub(crate) use error::bring_hint;
pub use layer::Recipe;
pub use name::ImageName;
pub use registry::PullOptions;
pub use running::{RunningNode, load_into_running};
pub use store::{ImageStore, StoredImage};
pub use template::{ContainerdPrograms, Template};
