//! Brings images to the nodes of a lab that is running, all at the same time.
//!
//! The images are unpacked once, into a template, as `lab up` does. Each node's
//! containerd is then given its layers as snapshots that are links into the
//! template; the import that follows finds blobs and layers there and only
//! writes down the images.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::ctr::{Ctr, ImportError};
use super::error::ImageError;
use super::name::ImageName;
use super::node_root;
use super::store::{ImageStore, StoredImage};
use super::template::{ContainerdPrograms, Snapshots, Template};
use crate::patience::patience;

/// A node that was just switched on has its containerd after a second or two.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A node with a containerd that runs, or will in a moment.
#[derive(Debug, Clone)]
pub struct RunningNode {
    /// Name of the node.
    pub name: String,
    /// Its containerd's root, seen from here.
    pub containerd_root: PathBuf,
    /// Its containerd's socket, seen from here.
    pub containerd_socket: PathBuf,
}

/// What is brought, the same for all nodes.
struct Load<'a> {
    store: &'a ImageStore,
    images: &'a [StoredImage],
    template: Template,
    snapshots: Snapshots,
    ctr: &'a Path,
}

/// Gives the images to every node.
///
/// # Errors
/// The images cannot be unpacked, or a node does not take them; the others do.
pub fn load_into_running(
    store: &ImageStore,
    images: &[StoredImage],
    programs: &ContainerdPrograms,
    nodes: &[RunningNode],
) -> Result<(), ImageError> {
    let names: Vec<ImageName> = images.iter().map(|image| image.name.clone()).collect();
    let template = store.template(&names, programs)?;
    let load = Load { store, images, snapshots: template.snapshots()?, template, ctr: &programs.ctr };
    thread::scope(|scope| {
        let load = &load;
        let loads: Vec<_> = nodes.iter().map(|node| (node, scope.spawn(move || load.bring(node)))).collect();
        // All are waited for before the first failure is told.
        let results: Vec<_> = loads
            .into_iter()
            .map(|(node, work)| work.join().unwrap_or_else(|_| Err(load.refused(node, "the thread ended early"))))
            .collect();
        results.into_iter().collect()
    })
}

// === impl Load ===

impl Load<'_> {
    fn bring(&self, node: &RunningNode) -> Result<(), ImageError> {
        let ctr = Ctr { program: self.ctr, socket: &node.containerd_socket };
        self.wait_for(ctr, node)?;
        node_root::share_blobs(self.template.directory(), &node.containerd_root)?;
        let mut linked = Vec::new();
        for image in self.images {
            let mut parent = None;
            for chain in self.store.chain_ids(image)? {
                if !ctr.has_snapshot(&chain) {
                    self.link(ctr, node, &chain, parent.as_deref())?;
                    linked.push(chain.clone());
                }
                parent = Some(chain);
            }
        }
        ctr.import(self.store, self.images).map_err(|error| match error {
            ImportError::Refused(problem) => self.refused(node, &problem),
            ImportError::Store(error) => error,
        })?;
        linked.iter().try_for_each(|chain| ctr.release(chain)).map_err(|problem| self.refused(node, &problem))
    }

    fn wait_for(&self, ctr: Ctr<'_>, node: &RunningNode) -> Result<(), ImageError> {
        let deadline = Instant::now() + patience(START_TIMEOUT);
        while !ctr.answers() {
            if Instant::now() > deadline {
                return Err(self.refused(node, "its containerd does not answer"));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Makes the snapshot of one layer, as a link into the template.
    fn link(&self, ctr: Ctr<'_>, node: &RunningNode, chain: &str, parent: Option<&str>) -> Result<(), ImageError> {
        let refused = |problem: String| self.refused(node, &problem);
        let shared = self.snapshots.get(chain).ok_or_else(|| refused(format!("layer {chain} was not unpacked")))?;
        let key = format!("seaway-load-{chain}");
        let own = ctr
            .prepare(&key, parent)
            .or_else(|_| {
                // A load that was killed left it.
                ctr.remove_snapshot(&key)?;
                ctr.prepare(&key, parent)
            })
            .map_err(refused)?;
        let own = own.file_name().unwrap_or_default().to_string_lossy();
        node_root::share_snapshot(self.template.directory(), shared, &node.containerd_root, &own)?;
        ctr.commit(chain, &key).or_else(|problem| {
            // A pod's pull may have been faster; then its layer serves as well.
            let _ = ctr.remove_snapshot(&key);
            if ctr.has_snapshot(chain) { Ok(()) } else { Err(refused(problem)) }
        })
    }

    fn refused(&self, node: &RunningNode, problem: &str) -> ImageError {
        let names: Vec<String> = self.images.iter().map(|image| image.name.short()).collect();
        ImageError::NodeImport { node: node.name.clone(), image: names.join(", "), problem: problem.to_owned() }
    }
}
