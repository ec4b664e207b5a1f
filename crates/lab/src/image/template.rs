//! Unpacks a set of images once, for all nodes.
//!
//! A containerd with a root of its own imports the images and is stopped; what
//! it leaves is the template. It runs in its own mount and network namespaces,
//! so nothing of it shows on the machine, and is gone when this process dies.
//! The template's directory is named by the hash of its images: an unchanged
//! set is never unpacked again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ctr::{Ctr, ImportError};
use super::digest::Digest;
use super::error::ImageError;
use super::name::ImageName;
use super::store::{ImageStore, StoredImage};
use super::{in_use, node_root};
use crate::patience::patience;

/// Part of the template's key: raised when the way of unpacking changes.
const FORMAT: &str = "2";
/// File with the [`Snapshots`] of a template.
const SNAPSHOTS: &str = "snapshots.json";
/// containerd answers after some 20 ms; a busy machine gets much longer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// containerd closes its databases within milliseconds of SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at something that is about to happen.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of a program's output an error shows.
const SHOWN_LINES: usize = 8;

/// The programs that unpack images.
#[derive(Debug, Clone)]
pub struct ContainerdPrograms {
    /// The `containerd` program.
    pub containerd: PathBuf,
    /// The `ctr` program.
    pub ctr: PathBuf,
}

/// Directories of unpacked layers by the chain id that names their snapshot.
pub(super) type Snapshots = BTreeMap<String, String>;

/// A set of unpacked images.
#[derive(Debug, Clone)]
pub struct Template {
    directory: PathBuf,
    /// Until node roots point into it, nothing else says that it is needed.
    _in_use: Arc<File>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Unpacks these images, or finds them unpacked.
    pub fn template(&self, names: &[ImageName], programs: &ContainerdPrograms) -> Result<Template, ImageError> {
        let _lock = self.lock("templates.lock")?;
        // Another lab may bring newer images of these names: their blobs must not go while they are read.
        let _images = self.hold()?;
        let images = self.resolve(names)?;
        let directory = self.templates().join(key(&images));
        if !directory.exists() {
            self.unpack(&images, programs, &directory)?;
        }
        let _in_use = Arc::new(in_use::hold(&directory)?);
        self.drop_unused_templates(&directory);
        Ok(Template { directory, _in_use })
    }

    /// Unpacks all images of the store: a lab can use whatever was loaded,
    /// built or pulled before it came up.
    pub fn template_of_all(&self, programs: &ContainerdPrograms) -> Result<Template, ImageError> {
        let names: Vec<ImageName> = self.list()?.into_iter().map(|image| image.name).collect();
        self.template(&names, programs)
    }

    /// Gives a node's containerd a root with these images in it, unpacking them
    /// first if no template has exactly these.
    pub fn prepare_node_root(
        &self,
        node_root: &Path,
        names: &[ImageName],
        programs: &ContainerdPrograms,
    ) -> Result<(), ImageError> {
        self.template(names, programs)?.prepare_node_root(node_root)
    }

    fn templates(&self) -> PathBuf {
        self.directory().join("templates")
    }

    fn unpack(
        &self,
        images: &[StoredImage],
        programs: &ContainerdPrograms,
        directory: &Path,
    ) -> Result<(), ImageError> {
        let building = directory.with_extension("building");
        remove_tree(&building)?;
        let root = building.join("root");
        fs::create_dir_all(&root).map_err(ImageError::store("make the directory", &root))?;
        // Namespaces belong to a thread: this one takes them with it when it ends.
        thread::scope(|scope| {
            let work = || import(self, images, programs, &building);
            scope.spawn(work).join().unwrap_or_else(|_| Err(failed("unpacking", "the thread ended early")))
        })?;
        self.share_blobs(&root)?;
        fs::rename(&building, directory).map_err(ImageError::store("move in", directory))
    }

    /// The template holds the same blobs as the store: one copy is enough.
    fn share_blobs(&self, root: &Path) -> Result<(), ImageError> {
        let blobs = root.join(node_root::BLOBS);
        for blob in fs::read_dir(&blobs).map_err(ImageError::store("read", &blobs))?.flatten() {
            let Some(digest) = blob.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok())
            else {
                continue;
            };
            let (stored, own) = (self.blob_path(&digest), blob.path());
            let spare = own.with_extension("link");
            if stored.exists() && fs::hard_link(&stored, &spare).is_ok() {
                fs::rename(&spare, &own).map_err(ImageError::store("replace", &own))?;
            }
        }
        Ok(())
    }

    /// Templates no node uses go, except the one just asked for. What cannot be
    /// removed now is tried again with the next template.
    fn drop_unused_templates(&self, wanted: &Path) {
        let Ok(entries) = fs::read_dir(self.templates()) else { return };
        for directory in entries.flatten().map(|entry| entry.path()) {
            let is_used = in_use::is_held(&directory) || node_root::has_users(&directory);
            if directory != wanted && !is_used {
                let _ = remove_tree(&directory);
            }
        }
    }
}

// === impl Template ===

impl Template {
    /// Where it is; node roots point into it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives a node's containerd a root (`/var/lib/containerd`) that shares the
    /// unpacked images. A root that has been in use is left as it is.
    pub fn prepare_node_root(&self, node_root: &Path) -> Result<(), ImageError> {
        node_root::prepare(&self.directory, node_root)
    }

    /// Which directory of the template holds which snapshot.
    pub(super) fn snapshots(&self) -> Result<Snapshots, ImageError> {
        let path = self.directory.join(SNAPSHOTS);
        let text = fs::read(&path).map_err(ImageError::store("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| ImageError::store("read", &path)(error.into()))
    }
}

fn key(images: &[StoredImage]) -> String {
    let mut text = format!("format {FORMAT}\n");
    for image in images {
        text.push_str(&format!("{} {}\n", image.name, image.digest));
    }
    // 20 digits (80 bits) are plenty for a handful of templates and keep paths
    // short: they end up in overlay mount options.
    Digest::of(text.as_bytes()).hex().chars().take(20).collect()
}

/// Runs on a thread of its own, which stays in the namespaces made here.
fn import(
    store: &ImageStore,
    images: &[StoredImage],
    programs: &ContainerdPrograms,
    building: &Path,
) -> Result<(), ImageError> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| failed("making namespaces (are you root?)", &errno.to_string()))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| failed("making mounts private", &errno.to_string()))?;
    // Sockets and state live as long as this mount namespace, and have short
    // paths: a socket's may have 107 characters.
    let run = Path::new("/run");
    mount(Some("tmpfs"), run, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None::<&str>)
        .map_err(|errno| failed("mounting a directory for sockets", &errno.to_string()))?;
    let config = run.join("containerd.toml");
    fs::write(&config, containerd_config(&building.join("root"), run)).map_err(ImageError::store("write", &config))?;
    let log = building.join("containerd.log");
    let mut containerd = Containerd::start(&programs.containerd, &config, &log)?;
    let socket = run.join("containerd.sock");
    containerd.wait_ready(&socket)?;
    if !images.is_empty() {
        let ctr = Ctr { program: &programs.ctr, socket: &socket };
        ctr.import(store, images).map_err(|error| match error {
            ImportError::Refused(problem) => failed("importing", &problem),
            ImportError::Store(error) => error,
        })?;
        note_snapshots(store, images, ctr, building)?;
    }
    containerd.stop()
}

/// Writes down which directory holds which snapshot: a containerd that runs
/// already is given them one by one.
fn note_snapshots(store: &ImageStore, images: &[StoredImage], ctr: Ctr<'_>, building: &Path) -> Result<(), ImageError> {
    let mut snapshots = Snapshots::new();
    for image in images {
        for chain in store.chain_ids(image)? {
            let directory = ctr.directory_of(&chain).map_err(|problem| failed("looking at snapshots", &problem))?;
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            snapshots.insert(chain, name);
        }
    }
    let path = building.join(SNAPSHOTS);
    let text = serde_json::to_vec(&snapshots).map_err(|error| ImageError::store("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(ImageError::store("write", &path))
}

fn containerd_config(root: &Path, run: &Path) -> String {
    let (root, run) = (root.display(), run.display());
    format!(
        r#"version = 3
root = "{root}"
state = "{run}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{run}/containerd.sock"
[ttrpc]
  address = "{run}/containerd.sock.ttrpc"
"#
    )
}

/// A running containerd; killed when dropped.
struct Containerd {
    child: Child,
    log: PathBuf,
}

// === impl Containerd ===

impl Containerd {
    fn start(program: &Path, config: &Path, log: &Path) -> Result<Self, ImageError> {
        let output = File::create(log).map_err(ImageError::store("create", log))?;
        let errors = output.try_clone().map_err(ImageError::store("open", log))?;
        // setpriv lets the kernel kill containerd with the thread that starts it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed("starting containerd", &error.to_string()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    fn wait_ready(&mut self, socket: &Path) -> Result<(), ImageError> {
        let deadline = Instant::now() + patience(START_TIMEOUT);
        while UnixStream::connect(socket).is_err() {
            let ended = self.child.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                return Err(failed("starting containerd", &last_lines(&self.log)));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Lets it close its databases.
    fn stop(mut self) -> Result<(), ImageError> {
        let stopped = |error: io::Error| failed("stopping containerd", &error.to_string());
        if let Ok(process) = i32::try_from(self.child.id()) {
            kill(Pid::from_raw(process), Signal::SIGTERM).map_err(|errno| stopped(errno.into()))?;
        }
        let deadline = Instant::now() + patience(STOP_TIMEOUT);
        while self.child.try_wait().map_err(stopped)?.is_none() {
            if Instant::now() > deadline {
                return Err(failed("stopping containerd", &last_lines(&self.log)));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(stage: &'static str, log_tail: &str) -> ImageError {
    ImageError::Template { stage, log_tail: log_tail.to_owned() }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
    if tail.is_empty() { "it wrote nothing".to_owned() } else { tail.join("\n") }
}

fn remove_tree(directory: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::store("remove", directory)(error)),
        _ => Ok(()),
    }
}
