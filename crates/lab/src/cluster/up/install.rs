//! Installing what connects pods, serves Services and answers DNS.

use super::Up;
use crate::cluster::api::ApiClient;
use crate::error::Result;

impl Up<'_> {
    /// Brings images to all nodes and starts their programs, all at once.
    pub(super) fn bring_nodes(&self) -> Result<()> {
        let template = self.progress.step("images unpacked", || self.unpack_images())?;
        self.progress.step("containerd and kubelet started on all nodes", || {
            std::thread::scope(|scope| {
                let nodes: Vec<_> = self
                    .machine
                    .nodes()
                    .iter()
                    .map(|node| {
                        scope.spawn(|| {
                            template.prepare_node_root(&node.path("/var/lib/containerd"))?;
                            self.start_node(node)
                        })
                    })
                    .collect();
                nodes.into_iter().try_for_each(|node| {
                    node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })
        })
    }

    /// Installs network, Services and DNS in a cluster whose API server answers.
    pub(super) fn install(&self, api: &ApiClient) -> Result<()> {
        if self.spec.network == crate::spec::NetworkChoice::Bridge {
            self.progress.step("network installed", || self.install_bridge(api))?;
        }
        Ok(())
    }
}
