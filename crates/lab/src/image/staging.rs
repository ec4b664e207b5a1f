//! Blobs on their way into the store: in a directory of their own until all of
//! an image is there and checked, gone if it never gets that far.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::digest::{Digest, HashingWriter};
use super::error::ImageError;
use super::in_use;
use super::oci::Descriptor;

/// Directories of this name hold blobs on their way.
const PREFIX: &str = "incoming-";

/// Blobs that are complete but not yet in the store.
pub(crate) struct Staging {
    _in_use: File,
    directory: tempfile::TempDir,
    blobs: BTreeMap<Digest, (PathBuf, u64)>,
    files: u32,
}

/// A blob being written.
pub(crate) struct BlobWriter {
    path: PathBuf,
    writer: HashingWriter<BufWriter<File>>,
    failure: Option<io::Error>,
}

// === impl Staging ===

impl Staging {
    /// Below the store, so that moving a blob in is a rename.
    pub(crate) fn new(store: &Path) -> Result<Self, ImageError> {
        // Nobody may take the new directory for an abandoned one.
        let _alone = in_use::alone(store)?;
        in_use::remove_abandoned(store, &[PREFIX]);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(store)
            .map_err(ImageError::store("make a directory in", store))?;
        let _in_use = in_use::hold(directory.path())?;
        Ok(Self { _in_use, directory, blobs: BTreeMap::new(), files: 0 })
    }

    /// Opens a new blob.
    pub(crate) fn writer(&mut self) -> Result<BlobWriter, ImageError> {
        self.files += 1;
        let path = self.directory.path().join(self.files.to_string());
        let file = File::create(&path).map_err(ImageError::store("create", &path))?;
        let writer = HashingWriter::new(BufWriter::with_capacity(256 * 1024, file));
        Ok(BlobWriter { path, writer, failure: None })
    }

    /// Takes a written blob in; it now has a digest and a length.
    pub(crate) fn finish(&mut self, blob: BlobWriter) -> Result<(Digest, u64), ImageError> {
        let (mut buffered, digest, length_bytes) = blob.writer.finish();
        buffered.flush().map_err(ImageError::store("write", &blob.path))?;
        self.blobs.insert(digest.clone(), (blob.path, length_bytes));
        Ok((digest, length_bytes))
    }

    /// Takes bytes in as a blob.
    pub(crate) fn add(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, ImageError> {
        let mut blob = self.writer()?;
        let path = blob.path.clone();
        blob.write_all(bytes).map_err(ImageError::store("write", path))?;
        let (digest, size) = self.finish(blob)?;
        Ok(Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() })
    }

    /// The length of a blob that has been taken in.
    pub(crate) fn length_bytes(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|(_, length_bytes)| *length_bytes)
    }

    /// Reads a blob of JSON.
    pub(crate) fn read(&self, digest: &Digest) -> Option<io::Result<Vec<u8>>> {
        self.blobs.get(digest).map(|(path, _)| fs::read(path))
    }

    /// Where a blob lies.
    pub(crate) fn path(&self, digest: &Digest) -> Option<&Path> {
        self.blobs.get(digest).map(|(path, _)| path.as_path())
    }
}

// === impl BlobWriter ===

impl BlobWriter {
    /// Whoever copies into it cannot tell whether reading or writing failed:
    /// the store's error if it was the writing, else `reading`.
    pub(crate) fn failure_or(&mut self, reading: ImageError) -> ImageError {
        match self.failure.take() {
            Some(source) => ImageError::store("write", &self.path)(source),
            None => reading,
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer).inspect_err(|error| self.failure = Some(io::Error::from(error.kind())))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
