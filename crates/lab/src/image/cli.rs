//! `seaway lab image`: load, build, pull, list and remove.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::error::ImageError;
use super::layer::Recipe;
use super::name::ImageName;
use super::registry::PullOptions;
use super::store::{ImageStore, StoredImage};

/// Brings images to the lab; no registry is needed.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    verb: ImageVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum ImageVerb {
    /// Take in the images of an archive (OCI layout or `docker save`).
    Load {
        /// The archive: a tar file, plain or gzip.
        file: PathBuf,
        /// Name for an archive with one image that does not name it.
        #[arg(long = "as", value_name = "NAME")]
        as_name: Option<String>,
    },
    /// Make an image of a program or a root directory.
    Build(BuildArgs),
    /// Fetch an image through this machine's network.
    Pull {
        /// The image: [HOST/]PATH[:TAG|@DIGEST].
        reference: String,
        /// Speak HTTP to the registry; loopback registries are spoken to so anyway.
        #[arg(long)]
        plain_http: bool,
    },
    /// Show the images of this machine's labs.
    List,
    /// Take images out of the store; nodes of running labs keep theirs.
    Remove {
        /// The images.
        #[arg(value_name = "NAME", required = true)]
        images: Vec<String>,
    },
    /// Name images that manifests want and nobody has brought, before applying
    /// them; without files, those that pods of the lab wait for.
    Check {
        /// Manifests, YAML or JSON.
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Clone, Args)]
struct BuildArgs {
    /// A statically linked program, which becomes the only file.
    #[arg(long, value_name = "PATH", required_unless_present = "rootfs", conflicts_with = "rootfs")]
    binary: Option<PathBuf>,
    /// A directory that becomes the root directory.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Program that is started, with its first arguments, separated by spaces.
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// A label of the image; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Name of the image.
    #[arg(value_name = "NAME")]
    image_name: String,
}

// === impl ImageArgs ===

impl ImageArgs {
    /// The manifests of `check`; nothing for other verbs.
    #[must_use]
    pub fn manifests_to_check(&self) -> Option<&[PathBuf]> {
        if let ImageVerb::Check { files } = &self.verb { Some(files) } else { None }
    }

    /// Whether the verb shows what there is.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.verb, ImageVerb::List)
    }

    /// Runs the verb. Returns the images that are new in the store: a running
    /// lab wants them on its nodes ([`super::load_into_running`]).
    pub fn run(&self, store: &ImageStore, out: &mut dyn Write) -> Result<Vec<StoredImage>, ImageError> {
        let (images, is_new) = match &self.verb {
            ImageVerb::Load { file, as_name } => {
                let name = as_name.as_deref().map(str::parse::<ImageName>).transpose()?;
                (store.load(file, name.as_ref())?, true)
            }
            ImageVerb::Build(build) => (vec![build.run(store)?], true),
            ImageVerb::Pull { reference, plain_http } => {
                let name: ImageName = reference.parse()?;
                let options = PullOptions { plain_http: *plain_http };
                let mut progress = |line: &str| print(out, line);
                (vec![block_on(store.pull(&name, &options, &mut progress))??], true)
            }
            ImageVerb::List => (store.list()?, false),
            ImageVerb::Remove { images } => {
                let names = images.iter().map(|image| image.parse()).collect::<Result<Vec<ImageName>, _>>()?;
                (store.remove(&names)?, false)
            }
            // Needs the lab, so its caller does it.
            ImageVerb::Check { .. } => return Ok(Vec::new()),
        };
        print(out, &table(&images));
        Ok(if is_new { images } else { Vec::new() })
    }
}

// === impl BuildArgs ===

impl BuildArgs {
    fn run(&self, store: &ImageStore) -> Result<StoredImage, ImageError> {
        let name: ImageName = self.image_name.parse()?;
        let mut recipe = match (&self.binary, &self.rootfs) {
            (Some(binary), _) => Recipe::binary(binary)?,
            (None, Some(rootfs)) => Recipe::rootfs(rootfs)?,
            (None, None) => Recipe::default(),
        };
        if let Some(entrypoint) = &self.entrypoint {
            recipe.entrypoint = entrypoint.split_whitespace().map(str::to_owned).collect();
            recipe.command.clear();
        }
        recipe.labels.extend(self.labels.iter().cloned());
        store.build(&name, &recipe)
    }
}

fn table(images: &[StoredImage]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["IMAGE", "DIGEST", "SIZE"]);
    for image in images {
        let digest: String = image.digest.hex().chars().take(12).collect();
        table.add_row([image.name.short(), digest, size(image.size_bytes)]);
    }
    table.to_string()
}

fn size(bytes: u64) -> String {
    // Tenths, without floating point.
    let tenths = bytes.saturating_mul(10) / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn print(out: &mut dyn Write, line: &str) {
    // Nobody left to read the output is no reason to stop the work.
    let _ = writeln!(out, "{line}");
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ImageError::store("start the runtime for", "the registry client"))?;
    Ok(runtime.block_on(work))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}
