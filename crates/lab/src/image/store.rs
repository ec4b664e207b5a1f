//! The lab's image store: one OCI image layout in the cache directory.
//!
//! `index.json` names the images, `blobs/sha256/` holds manifests,
//! configurations and layers, `templates/` the unpacked sets. Every change is
//! made under a file lock and by rename, so several labs may use it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::archive;
use super::digest::Digest;
use super::error::ImageError;
use super::layer::Recipe;
use super::name::ImageName;
use super::oci::{
    ANNOTATION_NAME, ANNOTATION_SOURCE, Descriptor, ImageConfig, Index, Manifest, Platform, RootFs, RunConfig,
    media_type,
};
use super::staging::Staging;

/// The image store of one cache directory.
#[derive(Debug, Clone)]
pub struct ImageStore {
    directory: PathBuf,
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Full name.
    pub name: ImageName,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Configuration and layers together, as stored.
    pub size_bytes: u64,
}

/// An image that is complete in a [`Staging`].
pub(crate) struct StagedImage {
    pub(crate) name: ImageName,
    pub(crate) manifest: Descriptor,
    /// What it was made of, if that can be seen to change.
    pub(crate) source: Option<String>,
}

// === impl ImageStore ===

impl ImageStore {
    /// Opens the store in this directory, making it if need be.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(ImageError::store("make the directory", &blobs))?;
        let store = Self { directory: directory.to_owned() };
        let layout = store.directory.join("oci-layout");
        if !layout.exists() {
            fs::write(&layout, archive::LAYOUT).map_err(ImageError::store("write", &layout))?;
        }
        Ok(store)
    }

    /// `$XDG_CACHE_HOME/seaway/images`, or `~/.cache/seaway/images`.
    pub fn default_directory() -> PathBuf {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_else(|| PathBuf::from("/var/cache"));
        cache.join("seaway/images")
    }

    /// Where the store is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All images, by name.
    pub fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let mut images = Vec::new();
        for descriptor in self.index()?.manifests {
            let Some(name) = descriptor.annotations.get(ANNOTATION_NAME) else { continue };
            let manifest = self.manifest(&descriptor.digest)?;
            let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
            images.push(StoredImage {
                name: name.parse()?,
                digest: descriptor.digest,
                size_bytes: manifest.config.size + layers,
            });
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// The image of that name.
    pub fn find(&self, name: &ImageName) -> Result<Option<StoredImage>, ImageError> {
        Ok(self.list()?.into_iter().find(|image| image.name == *name))
    }

    /// Takes in all images of an archive written by `docker save`, `podman
    /// save` or `ctr images export`, plain or gzip. `name` is for an archive
    /// that holds one image without a name.
    pub fn load(&self, archive: &Path, name: Option<&ImageName>) -> Result<Vec<StoredImage>, ImageError> {
        let mut staging = Staging::new(&self.directory)?;
        let images = archive::read(archive, name, &mut staging)?;
        self.commit(&staging, images)
    }

    /// Makes an image of files; returns at once if they have not changed.
    pub fn build(&self, name: &ImageName, recipe: &Recipe) -> Result<StoredImage, ImageError> {
        let source = recipe.fingerprint()?;
        if let Some(image) = self.built_from(name, &source)? {
            return Ok(image);
        }
        let mut staging = Staging::new(&self.directory)?;
        let manifest = stage_recipe(recipe, &mut staging)?;
        let staged = StagedImage { name: name.clone(), manifest, source: Some(source) };
        let mut images = self.commit(&staging, vec![staged])?;
        images.pop().ok_or_else(|| ImageError::ImagesMissing { names: vec![name.to_string()] })
    }

    /// Writes images as one archive, the form `ctr images import` reads.
    pub fn export(&self, images: &[StoredImage], writer: impl Write) -> Result<(), ImageError> {
        let manifests = images.iter().map(|image| self.descriptor(image)).collect::<Result<_, _>>()?;
        let mut blobs = BTreeSet::new();
        for image in images {
            blobs.extend(self.blobs_of(&image.digest)?);
        }
        let index = Index { schema_version: 2, manifests };
        archive::write(&index, &blobs, |digest| self.blob_path(digest), writer)
            .map_err(ImageError::store("write an archive from", &self.directory))
    }

    /// The images of these names, or an error that lists those not there.
    pub fn resolve(&self, names: &[ImageName]) -> Result<Vec<StoredImage>, ImageError> {
        let mut stored: BTreeMap<ImageName, StoredImage> =
            self.list()?.into_iter().map(|image| (image.name.clone(), image)).collect();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in names.iter().collect::<BTreeSet<_>>() {
            match stored.remove(name) {
                Some(image) => found.push(image),
                None => missing.push(name.short()),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(ImageError::ImagesMissing { names: missing }) }
    }

    /// Forgets images and drops what no other needs; all of them or, when one
    /// is not there, none. Returns what they were.
    pub fn remove(&self, names: &[ImageName]) -> Result<Vec<StoredImage>, ImageError> {
        let _lock = self.lock("lock")?;
        let removed = self.resolve(names)?;
        let mut index = self.index()?;
        let full: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
        index.manifests.retain(|known| !known.annotations.get(ANNOTATION_NAME).is_some_and(|name| full.contains(name)));
        self.write_index(&index)?;
        self.drop_unused_blobs(&index)?;
        Ok(removed)
    }

    /// Names of the image's snapshots, the lowest first.
    pub(crate) fn chain_ids(&self, image: &StoredImage) -> Result<Vec<String>, ImageError> {
        let path = self.blob_path(&self.manifest(&image.digest)?.config.digest);
        let bytes = fs::read(&path).map_err(ImageError::store("read", &path))?;
        Ok(parse::<ImageConfig>(&path, &bytes)?.rootfs.chain_ids())
    }

    /// Moves complete images in and drops what no image needs any more.
    pub(crate) fn commit(&self, staging: &Staging, images: Vec<StagedImage>) -> Result<Vec<StoredImage>, ImageError> {
        let _lock = self.lock("lock")?;
        let mut index = self.index()?;
        let mut names = Vec::new();
        for image in images {
            self.move_in(staging, &image.manifest.digest)?;
            let mut descriptor = image.manifest;
            descriptor.annotations.insert(ANNOTATION_NAME.to_owned(), image.name.to_string());
            if let Some(source) = image.source {
                descriptor.annotations.insert(ANNOTATION_SOURCE.to_owned(), source);
            }
            let full = image.name.to_string();
            index.manifests.retain(|other| other.annotations.get(ANNOTATION_NAME) != Some(&full));
            index.manifests.push(descriptor);
            names.push(image.name);
        }
        self.write_index(&index)?;
        self.drop_unused_blobs(&index)?;
        self.resolve(&names)
    }

    /// Takes a lock of the store; it is released when the file is dropped.
    pub(crate) fn lock(&self, name: &str) -> Result<File, ImageError> {
        self.lock_as(name, rustix::fs::FlockOperation::LockExclusive)
    }

    /// Keeps others from changing the store's images, but not from reading them.
    pub(crate) fn hold(&self) -> Result<File, ImageError> {
        self.lock_as("lock", rustix::fs::FlockOperation::LockShared)
    }

    fn lock_as(&self, name: &str, operation: rustix::fs::FlockOperation) -> Result<File, ImageError> {
        let path = self.directory.join(name);
        let file = File::create(&path).map_err(ImageError::store("create", &path))?;
        rustix::fs::flock(&file, operation).map_err(|errno| ImageError::store("lock", &path)(errno.into()))?;
        Ok(file)
    }

    /// Where a blob lies.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn built_from(&self, name: &ImageName, source: &str) -> Result<Option<StoredImage>, ImageError> {
        let full = name.to_string();
        let unchanged = self.index()?.manifests.iter().any(|descriptor| {
            descriptor.annotations.get(ANNOTATION_NAME) == Some(&full)
                && descriptor.annotations.get(ANNOTATION_SOURCE).map(String::as_str) == Some(source)
        });
        if unchanged { self.find(name) } else { Ok(None) }
    }

    fn index(&self) -> Result<Index, ImageError> {
        let path = self.directory.join("index.json");
        match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Index { schema_version: 2, manifests: Vec::new() })
            }
            Err(error) => Err(ImageError::store("read", &path)(error)),
        }
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        let path = self.directory.join("index.json");
        let new = self.directory.join("index.json.new");
        let bytes =
            serde_json::to_vec_pretty(index).map_err(|error| ImageError::store("write", &path)(error.into()))?;
        fs::write(&new, bytes).map_err(ImageError::store("write", &new))?;
        fs::rename(&new, &path).map_err(ImageError::store("replace", &path))
    }

    fn descriptor(&self, image: &StoredImage) -> Result<Descriptor, ImageError> {
        let path = self.blob_path(&image.digest);
        let metadata = fs::metadata(&path).map_err(ImageError::store("read", &path))?;
        let manifest = self.manifest(&image.digest)?;
        let is_named = !manifest.media_type.is_empty();
        Ok(Descriptor {
            media_type: if is_named { manifest.media_type } else { media_type::OCI_MANIFEST.into() },
            digest: image.digest.clone(),
            size: metadata.len(),
            platform: None,
            annotations: BTreeMap::from([(ANNOTATION_NAME.to_owned(), image.name.to_string())]),
        })
    }

    fn manifest(&self, digest: &Digest) -> Result<Manifest, ImageError> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(ImageError::store("read", &path))?;
        parse(&path, &bytes)
    }

    fn blobs_of(&self, manifest_digest: &Digest) -> Result<BTreeSet<Digest>, ImageError> {
        let manifest = self.manifest(manifest_digest)?;
        let mut blobs: BTreeSet<Digest> = manifest.layers.into_iter().map(|layer| layer.digest).collect();
        blobs.extend([manifest_digest.clone(), manifest.config.digest]);
        Ok(blobs)
    }

    fn move_in(&self, staging: &Staging, manifest_digest: &Digest) -> Result<(), ImageError> {
        let staged = |digest: &Digest| -> Result<(), ImageError> {
            let target = self.blob_path(digest);
            match staging.path(digest) {
                Some(path) if path.exists() => fs::rename(path, &target).map_err(ImageError::store("move in", &target)),
                _ if target.exists() => Ok(()),
                _ => Err(ImageError::store("find", &target)(io::ErrorKind::NotFound.into())),
            }
        };
        staged(manifest_digest)?;
        self.blobs_of(manifest_digest)?.iter().try_for_each(staged)
    }

    fn drop_unused_blobs(&self, index: &Index) -> Result<(), ImageError> {
        let mut used = BTreeSet::new();
        for descriptor in &index.manifests {
            used.extend(self.blobs_of(&descriptor.digest)?.into_iter().map(|d| d.hex().to_owned()));
        }
        let blobs = self.directory.join("blobs/sha256");
        for blob in fs::read_dir(&blobs).map_err(ImageError::store("read", &blobs))?.flatten() {
            if !blob.file_name().to_str().is_some_and(|name| used.contains(name)) {
                fs::remove_file(blob.path()).map_err(ImageError::store("remove", blob.path()))?;
            }
        }
        Ok(())
    }
}

fn stage_recipe(recipe: &Recipe, staging: &mut Staging) -> Result<Descriptor, ImageError> {
    let mut blob = staging.writer()?;
    recipe.write_layer(&mut blob).map_err(|error| blob.failure_or(error))?;
    let (digest, size) = staging.finish(blob)?;
    let platform = Platform::here();
    let config = ImageConfig {
        architecture: platform.architecture,
        os: platform.os,
        config: Some(RunConfig {
            entrypoint: recipe.entrypoint.clone(),
            cmd: recipe.command.clone(),
            env: recipe.environment.clone(),
            labels: recipe.labels.clone(),
        }),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![digest.clone()] },
    };
    let layer = Descriptor {
        media_type: media_type::OCI_LAYER.to_owned(),
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
    };
    archive::stage_manifest(staging, &config, vec![layer])
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::store("read", path)(error.into()))
}
