//! `lab image`, and what `status` says about pods that wait for one.

use std::io;
use std::path::{Path, PathBuf};

mod waiting;

use crate::cluster::api::{ApiClient, parse_manifests};
use crate::cluster::files;
use crate::cluster::programs::Programs;
use crate::cluster::up::program_source;
use crate::error::{IoContext, LabError, Result};
use crate::image::cli::ImageArgs;
use crate::image::{
    ContainerdPrograms, ImageError, ImageName, ImageStore, RunningNode, StoredImage, StuckPod, bring_hint,
    check_images, images_of_manifests, load_into_running, stuck_pods,
};
use crate::machine::{LabDir, Machine, Node};

/// Exit code when an image is missing, as for all verbs whose answer is a
/// problem (docs/reference/command-line.md).
const FOUND_MISSING: u8 = 3;

/// Inside a node.
const CONTAINERD_ROOT: &str = "/var/lib/containerd";
/// Inside a node.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Runs the verb on the store of this machine; the nodes of a running lab get
/// what is new at once.
pub(super) fn run(args: &ImageArgs, dir: &LabDir) -> Result<u8> {
    let store = ImageStore::open(&ImageStore::default_directory())?;
    match args.manifests_to_check() {
        Some([]) => return Ok(report_missing(dir, &waiting_pods(&Machine::open(dir)?))),
        Some(files) => return check_files(&store, files, dir),
        None => {}
    }
    let new = args.run(&store, &mut io::stdout())?;
    if !dir.exists() {
        return Ok(0);
    }
    let machine = Machine::open(dir)?;
    if args.is_list() {
        tell_waiting_pods(dir, &waiting_pods(&machine));
    } else {
        spread(&store, &new, &machine)?;
    }
    Ok(0)
}

/// Warns of pods that cannot start for want of an image.
pub(super) fn tell_waiting_pods(dir: &LabDir, pods: &[StuckPod]) {
    if !pods.is_empty() {
        println!();
        report_missing(dir, pods);
    }
}

fn report_missing(dir: &LabDir, pods: &[StuckPod]) -> u8 {
    for pod in pods {
        println!("{pod}: bring it with {}", bring_hint(std::slice::from_ref(&pod.image), dir.name()));
    }
    if pods.is_empty() { 0 } else { FOUND_MISSING }
}

fn check_files(store: &ImageStore, files: &[PathBuf], dir: &LabDir) -> Result<u8> {
    let mut manifests = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).on_file("read", path)?;
        manifests.extend(parse_manifests(&path.display().to_string(), &text)?);
    }
    match check_images(store, &manifests) {
        Ok(()) => {
            println!("All {} images are there.", images_of_manifests(&manifests).len());
            Ok(0)
        }
        Err(ImageError::ImagesMissing { names }) => {
            println!("Not in the image store: {}", names.join(", "));
            println!("Bring them with {}", bring_hint(&names, dir.name()));
            Ok(FOUND_MISSING)
        }
        Err(error) => Err(error.into()),
    }
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

/// Gives images to the nodes; those that are off get them when they are healed.
fn spread(store: &ImageStore, images: &[StoredImage], machine: &Machine) -> Result<()> {
    let (on, off): (Vec<&Node>, Vec<&Node>) = machine.nodes().iter().partition(|node| node.init().is_ok());
    if images.is_empty() {
        return Ok(());
    }
    let names: Vec<ImageName> = images.iter().map(|image| image.name.clone()).collect();
    for node in &off {
        waiting::add(machine.dir(), node.name(), &names)?;
    }
    if !on.is_empty() {
        bring(store, images, &on)?;
        println!("Brought to {} nodes of lab {}", on.len(), machine.dir().name());
    }
    for node in off {
        println!(
            "Node {} is off and gets {} when it is healed",
            node.name(),
            if names.len() == 1 { "it" } else { "them" }
        );
    }
    Ok(())
}

/// Gives nodes that were off what came meanwhile.
pub(super) fn catch_up(dir: &LabDir) -> Result<()> {
    let machine = Machine::open(dir)?;
    for node in machine.nodes().iter().filter(|node| node.init().is_ok()) {
        let names = waiting::of(dir, node.name())?;
        if names.is_empty() {
            continue;
        }
        let store = ImageStore::open(&ImageStore::default_directory())?;
        // What was removed from the store meanwhile is wanted no more.
        let images: Vec<StoredImage> = store.list()?.into_iter().filter(|image| names.contains(&image.name)).collect();
        if !images.is_empty() {
            bring(&store, &images, &[node])?;
            println!("brought {} images to {}", images.len(), node.name());
        }
        waiting::clear(dir, node.name())?;
    }
    Ok(())
}

fn bring(store: &ImageStore, images: &[StoredImage], nodes: &[&Node]) -> Result<()> {
    let programs =
        Programs::find(&["containerd", "ctr"], &program_source(None), &mut |_| {}).map_err(LabError::from)?;
    let path = |name| programs.path(name).map(Path::to_owned).map_err(LabError::from);
    let programs = ContainerdPrograms { containerd: path("containerd")?, ctr: path("ctr")? };
    let nodes: Vec<RunningNode> = nodes
        .iter()
        .map(|node| RunningNode {
            name: node.name().to_owned(),
            containerd_root: node.path(CONTAINERD_ROOT),
            containerd_socket: node.path(CONTAINERD_SOCKET),
        })
        .collect();
    Ok(load_into_running(store, images, &programs, &nodes)?)
}
