//! `lab image`, and what `status` says about pods that wait for one.

use std::io;
use std::path::PathBuf;

use crate::cluster::api::{ApiClient, parse_manifests};
use crate::cluster::files;
use crate::cluster::programs::Programs;
use crate::cluster::up::program_source;
use crate::error::{IoContext, LabError, Result};
use crate::image::cli::ImageArgs;
use crate::image::{
    ImageError, ImageStore, StoredImage, StuckPod, bring_hint, check_images, images_of_manifests, load_into_running,
    stuck_pods,
};
use crate::machine::{LabDir, Machine, Node};

/// Exit code when an image is missing, as for all verbs whose answer is a
/// problem (docs/reference/command-line.md).
const FOUND_MISSING: u8 = 3;

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
