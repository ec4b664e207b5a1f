//! Image archives: OCI image layouts and what `docker save` writes, as tar
//! files, plain or gzip.
//!
//! Reading takes every file into a [`Staging`] (so each has a digest), then
//! follows the references from `index.json` or `manifest.json` and checks each.

mod docker;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use super::digest::Digest;
use super::error::ImageError;
use super::name::ImageName;
use super::oci::{Descriptor, ImageConfig, Index, Manifest, media_type};
use super::staging::Staging;
use super::store::StagedImage;

/// Content of `oci-layout` (image-layout.md).
pub(crate) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// An archive with more entries is refused; real ones have a few dozen.
const MOST_ENTRIES: usize = 100_000;
/// Larger JSON documents are refused; real ones have some kilobytes.
const LARGEST_DOCUMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The files of an archive, all in a staging area.
struct Contents<'a> {
    archive: &'a Path,
    files: BTreeMap<String, Digest>,
    links: BTreeMap<String, String>,
    staging: &'a mut Staging,
}

/// Takes the images of an archive in. `name` names the only image of an
/// archive that does not name it.
pub(crate) fn read(
    archive: &Path,
    name: Option<&ImageName>,
    staging: &mut Staging,
) -> Result<Vec<StagedImage>, ImageError> {
    let mut contents = Contents::read(archive, staging)?;
    let mut images = if contents.has("index.json") {
        layout::images(&mut contents)?
    } else if contents.has("manifest.json") {
        docker::images(&mut contents)?
    } else {
        return Err(ImageError::ArchiveFileMissing {
            path: archive.to_owned(),
            file: "index.json or manifest.json".to_owned(),
            wanted_by: "every image archive".to_owned(),
        });
    };
    if let ([(only, _)], Some(name)) = (images.as_mut_slice(), name) {
        *only = Some(name.clone());
    }
    let staged = |(name, manifest): (Option<ImageName>, Descriptor)| match name {
        Some(name) => Ok(StagedImage { name, manifest, source: None }),
        None => Err(ImageError::ArchiveField {
            path: archive.to_owned(),
            file: "index.json".to_owned(),
            field: "manifests[].annotations".to_owned(),
            problem: format!("no name for {}; give one with --as", manifest.digest),
        }),
    };
    images.into_iter().map(staged).collect()
}

/// Writes an OCI layout: `blobs` are found by `blob_path`.
pub(crate) fn write(
    index: &Index,
    blobs: &BTreeSet<Digest>,
    blob_path: impl Fn(&Digest) -> PathBuf,
    writer: impl Write,
) -> io::Result<()> {
    let mut builder = tar::Builder::new(writer);
    append(&mut builder, "oci-layout", LAYOUT.len() as u64, LAYOUT.as_bytes())?;
    let document = serde_json::to_vec(index)?;
    append(&mut builder, "index.json", document.len() as u64, document.as_slice())?;
    for digest in blobs {
        let file = File::open(blob_path(digest))?;
        let length_bytes = file.metadata()?.len();
        append(&mut builder, &format!("blobs/sha256/{}", digest.hex()), length_bytes, file)?;
    }
    builder.into_inner()?.flush()
}

/// Writes configuration and manifest of an image whose layers are staged.
pub(crate) fn stage_manifest(
    staging: &mut Staging,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
) -> Result<Descriptor, ImageError> {
    let bytes = to_json(config)?;
    let config = staging.add(media_type::OCI_CONFIG, &bytes)?;
    stage_manifest_of(staging, config, layers)
}

fn stage_manifest_of(
    staging: &mut Staging,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Descriptor, ImageError> {
    let media_type = media_type::OCI_MANIFEST.to_owned();
    let manifest = Manifest { schema_version: 2, media_type, config, layers };
    let bytes = to_json(&manifest)?;
    staging.add(media_type::OCI_MANIFEST, &bytes)
}

fn to_json(document: &impl serde::Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(document).map_err(|error| ImageError::store("write", "manifest")(error.into()))
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &str,
    length_bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length_bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    builder.append_data(&mut header, path, content.take(length_bytes))
}

// === impl Contents ===

impl<'a> Contents<'a> {
    fn read(archive: &'a Path, staging: &'a mut Staging) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::ArchiveUnreadable { path: archive.to_owned(), source };
        let reader = open(archive).map_err(unreadable)?;
        let mut contents = Self { archive, files: BTreeMap::new(), links: BTreeMap::new(), staging };
        let mut tar = tar::Archive::new(reader);
        for (count, entry) in tar.entries().map_err(unreadable)?.enumerate() {
            if count >= MOST_ENTRIES {
                return Err(unreadable(io::Error::other(format!("it has more than {MOST_ENTRIES} entries"))));
            }
            // The tar reader's own message quotes the bytes it could not read.
            let mut entry =
                entry.map_err(|_| unreadable(io::Error::other(format!("tar entry {} is damaged", count + 1))))?;
            let path = clean(&entry.path().map_err(unreadable)?);
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let mut blob = contents.staging.writer()?;
                    io::copy(&mut entry, &mut blob).map_err(|error| blob.failure_or(unreadable(error)))?;
                    let (digest, _) = contents.staging.finish(blob)?;
                    contents.files.insert(path, digest);
                }
                tar::EntryType::Link | tar::EntryType::Symlink => {
                    let is_symbolic = entry.header().entry_type() == tar::EntryType::Symlink;
                    let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
                    let base = Path::new(&path).parent().filter(|_| is_symbolic);
                    let target = clean(&base.unwrap_or(Path::new("")).join(target));
                    contents.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// The digest of a file; one link is followed, as `docker save` wrote them.
    fn file(&self, file: &str, wanted_by: &str) -> Result<Digest, ImageError> {
        let found = self.files.get(file).or_else(|| self.links.get(file).and_then(|target| self.files.get(target)));
        found.cloned().ok_or_else(|| ImageError::ArchiveFileMissing {
            path: self.archive.to_owned(),
            file: file.to_owned(),
            wanted_by: wanted_by.to_owned(),
        })
    }

    /// Reads a file as a JSON document.
    fn document<T: DeserializeOwned>(&self, file: &str, wanted_by: &str) -> Result<T, ImageError> {
        let digest = self.file(file, wanted_by)?;
        if self.staging.length_bytes(&digest).is_some_and(|length| length > LARGEST_DOCUMENT_BYTES) {
            return Err(self.field(file, "(all)", format!("longer than {LARGEST_DOCUMENT_BYTES} bytes")));
        }
        let bytes = match self.staging.read(&digest) {
            Some(read) => read.map_err(ImageError::store("read", self.archive))?,
            None => Vec::new(),
        };
        parse_document(&bytes).map_err(|(field, problem)| self.field(file, &field, problem))
    }

    /// Checks that the blob a descriptor names is there, and is what it says.
    fn check_blob(&self, descriptor: &Descriptor, wanted_by: &str) -> Result<String, ImageError> {
        let file = format!("blobs/sha256/{}", descriptor.digest.hex());
        let actual = self.file(&file, wanted_by)?;
        if actual != descriptor.digest {
            return Err(ImageError::DigestMismatch {
                origin: format!("{}: {file}", self.archive.display()),
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        match self.staging.length_bytes(&actual) {
            Some(length) if length != descriptor.size => {
                Err(self.field(wanted_by, "size", format!("{} for {file}, which has {length} bytes", descriptor.size)))
            }
            _ => Ok(file),
        }
    }

    fn field(&self, file: &str, field: &str, problem: String) -> ImageError {
        ImageError::ArchiveField {
            path: self.archive.to_owned(),
            file: file.to_owned(),
            field: field.to_owned(),
            problem,
        }
    }
}

/// Parses JSON; the error names the field where serde stopped.
pub(crate) fn parse_document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, String)> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        // serde_json quotes the field in "missing field `x`"; otherwise the place helps.
        let field = text.split('`').nth(1).filter(|_| text.starts_with("missing field"));
        let place = format!("line {} column {}", error.line(), error.column());
        (field.map_or(place, str::to_owned), text)
    })
}

fn open(archive: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(archive)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(2).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    let reader = BufReader::with_capacity(256 * 1024, file);
    // RFC 1952 §2.3.1: gzip members start with 1f 8b.
    if magic == [0x1f, 0x8b] {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    Ok(Box::new(reader))
}

/// A path as it is looked up: relative, without `.` and `..`.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}
