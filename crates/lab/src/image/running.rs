//! Brings images to the nodes of a lab that is running: each node's containerd
//! imports them, all nodes at the same time.

use std::io;
use std::path::Path;
use std::process::Output;
use std::thread;

use super::error::ImageError;
use super::in_use;
use super::store::{ImageStore, StoredImage};

/// Archives of this name are read by the nodes.
const EXPORT_PREFIX: &str = "export-";

/// Imports `images` on every node. `run` runs an argument vector inside a
/// node's namespaces; `ctr` is where that program is, seen from a node.
pub fn load_into_running<N: Sync>(
    store: &ImageStore,
    images: &[StoredImage],
    ctr: &Path,
    nodes: &[(String, N)],
    run: impl Fn(&N, &[String]) -> io::Result<Output> + Sync,
) -> Result<(), ImageError> {
    let alone = in_use::alone(store.directory())?;
    in_use::remove_abandoned(store.directory(), &[EXPORT_PREFIX]);
    let archive = tempfile::Builder::new()
        .prefix(EXPORT_PREFIX)
        .suffix(".tar")
        .tempfile_in(store.directory())
        .map_err(ImageError::store("make a file in", store.directory()))?;
    let _in_use = in_use::hold(archive.path())?;
    drop(alone);
    store.export(images, io::BufWriter::with_capacity(256 * 1024, archive.as_file()))?;
    let argv = import_argv(ctr, archive.path());
    let names = images.iter().map(|image| image.name.short()).collect::<Vec<_>>().join(", ");
    let refused =
        |node: &str, problem: String| ImageError::NodeImport { node: node.to_owned(), image: names.clone(), problem };
    let import = |(name, node): &(String, N)| match run(node, &argv) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(refused(name, String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(refused(name, error.to_string())),
    };
    thread::scope(|scope| {
        let imports: Vec<_> = nodes.iter().map(|node| (node, scope.spawn(|| import(node)))).collect();
        for ((name, _), work) in imports {
            work.join().unwrap_or_else(|_| Err(refused(name, "the thread ended early".to_owned())))?;
        }
        Ok(())
    })
}

fn import_argv(ctr: &Path, archive: &Path) -> Vec<String> {
    let program = ctr.to_string_lossy().into_owned();
    let archive = archive.to_string_lossy().into_owned();
    let fixed = ["--namespace", "k8s.io", "images", "import", "--snapshotter", "overlayfs"];
    [program].into_iter().chain(fixed.map(str::to_owned)).chain([archive]).collect()
}
