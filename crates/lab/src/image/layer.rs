//! What a built image is made of, and its one layer, written the same way
//! every time: entries sorted, times zero, so equal content has an equal digest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::ImageError;

/// ELF program header type of the dynamic loader's path (`PT_INTERP`).
const PROGRAM_HEADER_INTERPRETER: u32 = 3;

/// How to make an image from files on this machine (FROM scratch, one layer).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// A directory that becomes `/`.
    pub rootfs: Option<PathBuf>,
    /// Single files, by absolute path in the image; they come over `rootfs`.
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// Symbolic links, path in the image to target.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// The program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments when the pod gives none.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// An entry on its way into the tar file.
enum Entry {
    Directory { mode: u32, owner: (u64, u64) },
    File { source: PathBuf, mode: u32, owner: (u64, u64) },
    Link { target: PathBuf, owner: (u64, u64) },
}

// === impl Recipe ===

impl Recipe {
    /// One statically linked program, at `/NAME`, which is also the entrypoint.
    pub fn binary(program: &Path) -> Result<Self, ImageError> {
        check_static(program)?;
        let Some(name) = program.file_name().and_then(|name| name.to_str()) else {
            return Err(unusable(program, "it has no file name that could be used in the image"));
        };
        let inside = format!("/{name}");
        Ok(Self {
            files: BTreeMap::from([(PathBuf::from(&inside), program.to_owned())]),
            entrypoint: vec![inside],
            ..Self::default()
        })
    }

    /// A whole root directory; starts a shell unless told otherwise.
    pub fn rootfs(directory: &Path) -> Result<Self, ImageError> {
        if !directory.is_dir() {
            return Err(unusable(directory, "it is not a directory"));
        }
        let has_shell = fs::symlink_metadata(directory.join("bin/sh")).is_ok();
        Ok(Self {
            rootfs: Some(directory.to_owned()),
            command: if has_shell { vec!["/bin/sh".to_owned()] } else { Vec::new() },
            environment: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            ..Self::default()
        })
    }

    /// Tells whether the sources changed since, without reading them.
    pub(crate) fn fingerprint(&self) -> Result<String, ImageError> {
        let mut text = format!("{:?}", (&self.links, &self.entrypoint, &self.command));
        text.push_str(&format!("{:?}", (&self.environment, &self.labels)));
        for (inside, entry) in self.entries()? {
            let source = match &entry {
                Entry::File { source, .. } => Some(source),
                Entry::Directory { .. } | Entry::Link { .. } => None,
            };
            text.push_str(&inside.display().to_string());
            if let Some(source) = source {
                let metadata = fs::metadata(source).map_err(|error| unusable(source, &error.to_string()))?;
                let stamp = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
                text.push_str(&format!("{stamp:?}{}{}", metadata.ino(), metadata.mode()));
            }
        }
        Ok(super::digest::Digest::of(text.as_bytes()).to_string())
    }

    /// Writes the layer as an uncompressed tar file.
    pub(crate) fn write_layer(&self, writer: impl Write) -> Result<(), ImageError> {
        let mut builder = tar::Builder::new(writer);
        for (inside, entry) in self.entries()? {
            append(&mut builder, &inside, &entry).map_err(|error| {
                let path = match &entry {
                    Entry::File { source, .. } => source.clone(),
                    Entry::Directory { .. } | Entry::Link { .. } => inside.clone(),
                };
                unusable(&path, &error.to_string())
            })?;
        }
        builder.into_inner().map(|_| ()).map_err(|error| unusable(Path::new("layer"), &error.to_string()))
    }

    /// Everything that goes in, sorted by path relative to `/`.
    fn entries(&self) -> Result<BTreeMap<PathBuf, Entry>, ImageError> {
        let mut entries = BTreeMap::new();
        if let Some(rootfs) = &self.rootfs {
            collect(rootfs, Path::new(""), &mut entries)?;
        }
        for (inside, source) in &self.files {
            let metadata = fs::metadata(source).map_err(|error| unusable(source, &error.to_string()))?;
            let entry = Entry::File { source: source.clone(), mode: metadata.mode() & 0o7777, owner: (0, 0) };
            insert_with_parents(&mut entries, inside, entry);
        }
        for (inside, target) in &self.links {
            let entry = Entry::Link { target: target.clone(), owner: (0, 0) };
            insert_with_parents(&mut entries, inside, entry);
        }
        Ok(entries)
    }
}

/// Programs in an image without libraries must not need any.
pub(crate) fn check_static(program: &Path) -> Result<(), ImageError> {
    let mut start = Vec::new();
    File::open(program)
        // Headers stand at the start; 64 KiB hold a thousand program headers.
        .and_then(|file| file.take(64 * 1024).read_to_end(&mut start))
        .map_err(|error| unusable(program, &error.to_string()))?;
    match has_interpreter(&start) {
        Some(false) => Ok(()),
        Some(true) => Err(unusable(program, "it is linked dynamically, the image has no libraries")),
        None => Err(unusable(program, "it is not a 64-bit ELF program")),
    }
}

/// `None` if this is no little-endian 64-bit ELF file.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table_offset = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let entry_bytes = usize::from(u16::from_le_bytes(elf.get(54..56)?.try_into().ok()?));
    let count = usize::from(u16::from_le_bytes(elf.get(56..58)?.try_into().ok()?));
    for index in 0..count {
        let at = table_offset.checked_add(index.checked_mul(entry_bytes)?)?;
        let kind = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PROGRAM_HEADER_INTERPRETER {
            return Some(true);
        }
    }
    Some(false)
}

fn collect(directory: &Path, inside: &Path, entries: &mut BTreeMap<PathBuf, Entry>) -> Result<(), ImageError> {
    let failed = |error: io::Error| unusable(directory, &error.to_string());
    for child in fs::read_dir(directory).map_err(failed)? {
        let child = child.map_err(failed)?;
        let source = child.path();
        let path = inside.join(child.file_name());
        let metadata = child.metadata().map_err(failed)?;
        let owner = (u64::from(metadata.uid()), u64::from(metadata.gid()));
        let mode = metadata.mode() & 0o7777;
        let kind = metadata.file_type();
        if kind.is_dir() {
            entries.insert(path.clone(), Entry::Directory { mode, owner });
            collect(&source, &path, entries)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(failed)?;
            entries.insert(path, Entry::Link { target, owner });
        } else if kind.is_file() {
            entries.insert(path, Entry::File { source, mode, owner });
        } else if kind.is_char_device() || kind.is_block_device() {
            // The container runtime makes /dev itself.
        }
        // Sockets and pipes are traces of running programs, no content.
    }
    Ok(())
}

fn insert_with_parents(entries: &mut BTreeMap<PathBuf, Entry>, inside: &Path, entry: Entry) {
    let relative = inside.strip_prefix("/").unwrap_or(inside).to_owned();
    for parent in relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        entries.entry(parent.to_owned()).or_insert(Entry::Directory { mode: 0o755, owner: (0, 0) });
    }
    entries.insert(relative, entry);
}

fn append<W: Write>(builder: &mut tar::Builder<W>, inside: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    let own = |header: &mut tar::Header, mode: u32, owner: (u64, u64)| {
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
    };
    match entry {
        Entry::Directory { mode, owner } => {
            own(&mut header, *mode, *owner);
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            builder.append_data(&mut header, inside, io::empty())
        }
        Entry::Link { target, owner } => {
            own(&mut header, 0o777, *owner);
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, inside, target)
        }
        Entry::File { source, mode, owner } => {
            own(&mut header, *mode, *owner);
            let file = File::open(source)?;
            let length_bytes = file.metadata()?.len();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(length_bytes);
            // A file that grows meanwhile must not run over its header.
            builder.append_data(&mut header, inside, file.take(length_bytes))
        }
    }
}

fn unusable(path: &Path, problem: &str) -> ImageError {
    ImageError::SourceUnusable { path: path.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rootfs_gives_the_same_layer_every_time() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/app")).unwrap();
        fs::write(root.path().join("etc/app/config"), "x = 1\n").unwrap();
        std::os::unix::fs::symlink("app/config", root.path().join("etc/config")).unwrap();
        let recipe = Recipe::rootfs(root.path()).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        recipe.write_layer(&mut first).unwrap();
        fs::write(root.path().join("etc/app/config"), "x = 1\n").unwrap();
        recipe.write_layer(&mut second).unwrap();
        assert_eq!(first, second);

        let mut archive = tar::Archive::new(first.as_slice());
        let paths: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        let expected = ["etc/", "etc/app/", "etc/app/config", "etc/config"].map(PathBuf::from);
        assert_eq!(paths, expected);
    }

    #[test]
    fn the_fingerprint_follows_the_source() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "1").unwrap();
        let recipe = Recipe::rootfs(root.path()).unwrap();
        let before = recipe.fingerprint().unwrap();
        assert_eq!(before, recipe.fingerprint().unwrap());
        fs::write(&file, "22").unwrap();
        assert_ne!(before, recipe.fingerprint().unwrap());
    }

    #[test]
    fn only_static_programs_are_taken() {
        let this_test = std::env::current_exe().unwrap();
        assert!(Recipe::binary(&this_test).is_ok(), "tests are linked statically here");
        let root = tempfile::tempdir().unwrap();
        let script = root.path().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let error = Recipe::binary(&script).unwrap_err().to_string();
        assert!(error.contains("not a 64-bit ELF"), "{error}");

        let mut dynamic = vec![0u8; 120];
        dynamic[..6].copy_from_slice(b"\x7fELF\x02\x01");
        dynamic[32] = 64;
        dynamic[54] = 56;
        dynamic[56] = 1;
        dynamic[64] = 3;
        let program = root.path().join("program");
        fs::write(&program, &dynamic).unwrap();
        let error = Recipe::binary(&program).unwrap_err().to_string();
        assert!(error.contains("linked dynamically"), "{error}");
    }
}
