//! `lab image`, and what `status` says about pods that wait for one.

use std::io;

use crate::cluster::api::ApiClient;
use crate::cluster::files;
use crate::cluster::programs::Programs;
use crate::cluster::up::program_source;
use crate::error::{LabError, Result};
use crate::image::cli::ImageArgs;
use crate::image::{ImageStore, StoredImage, StuckPod, load_into_running, stuck_pods};
use crate::machine::{LabDir, Machine, Node};

/// Runs the verb on the store of this machine; the nodes of a running lab get
/// what is new at once.
pub(super) fn run(args: &ImageArgs, dir: &LabDir) -> Result<()> {
    let store = ImageStore::open(&ImageStore::default_directory())?;
    let new = args.run(&store, &mut io::stdout())?;
    if new.is_empty() || !dir.exists() {
        return Ok(());
    }
    spread(&store, &new, &Machine::open(dir)?)
}

/// Pods of a running lab that cannot start for want of an image; none if the
/// API server does not answer, which `status` says elsewhere.
pub(super) fn waiting_pods(machine: &Machine) -> Vec<StuckPod> {
    let listed = std::fs::read_to_string(files::host_kubeconfig(machine.dir()))
        .ok()
        .and_then(|kubeconfig| ApiClient::new(&kubeconfig).ok())
        .and_then(|api| api.get("/api/v1/pods").ok());
    listed.map(|pods| stuck_pods(&pods)).unwrap_or_default()
}

fn spread(store: &ImageStore, images: &[StoredImage], machine: &Machine) -> Result<()> {
    // A node that is off has no containerd to take them: load again when it is on.
    let nodes: Vec<(String, &Node)> =
        machine.nodes().iter().filter(|node| node.init().is_ok()).map(|node| (node.name().to_owned(), node)).collect();
    if nodes.is_empty() {
        return Ok(());
    }
    let programs = Programs::find(&["ctr"], &program_source(None), &mut |_| {}).map_err(LabError::from)?;
    let ctr = programs.path("ctr").map_err(LabError::from)?;
    load_into_running(store, images, ctr, &nodes, |node, argv| {
        node.exec(argv).map_err(|error| io::Error::other(error.to_string()))
    })?;
    println!("Brought to {} nodes of lab {}", nodes.len(), machine.dir().name());
    Ok(())
}
