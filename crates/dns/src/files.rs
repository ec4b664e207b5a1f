//! Zones and block lists in files of the server's configuration: read at the start and whenever
//! they change. A file that cannot be used leaves its last good content in force.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaway_model::Diagnose;

use crate::error::DnsError;
use crate::views::zone_file::{self, TextFault};
use crate::views::{Block, BlockAnswer, Config, NameSet, StaticZone, block_file};
use crate::wire::OwnedName;

/// Octets of one file; more is a mistake.
const LARGEST_FILE: u64 = 256 << 20;

/// The files, and what was read of them.
#[derive(Debug, Default)]
pub struct Files {
    zones: Vec<File<OwnedName, Arc<StaticZone>>>,
    blocks: Vec<File<(), Arc<NameSet>>>,
}

/// One file.
#[derive(Debug)]
struct File<P, C> {
    path: PathBuf,
    purpose: P,
    /// What the file system said of it when it was read.
    seen: Option<Seen>,
    good: Option<C>,
    usable: bool,
}

/// Another content shows as another time, size or file: ConfigMaps are replaced by links.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    inode: u64,
    octets: u64,
    modified: (i64, i64),
}

/// What a look at the files came to.
#[derive(Debug)]
pub struct Looked {
    /// What is answered from them now.
    pub config: Arc<Config>,
    /// Files that cannot be used as they are.
    pub unusable: usize,
}

// === impl Files ===

impl Files {
    /// Files of zones by the zone's name, and of block lists; nothing is read yet.
    #[must_use]
    pub fn new(zones: Vec<(OwnedName, PathBuf)>, blocks: Vec<PathBuf>) -> Self {
        Self {
            zones: zones.into_iter().map(|(apex, path)| File::new(path, apex)).collect(),
            blocks: blocks.into_iter().map(|path| File::new(path, ())).collect(),
        }
    }

    /// Reads what changed since the last look; none: nothing did.
    pub fn look(&mut self) -> Option<Looked> {
        let mut changed = false;
        for file in &mut self.zones {
            changed |= file.look(|text, apex| {
                let records = zone_file::parse(text, apex)?;
                StaticZone::new(apex.clone(), records).map(Arc::new)
            });
        }
        for file in &mut self.blocks {
            changed |= file.look(|text, ()| block_file::parse(text).map(Arc::new));
        }
        changed.then(|| self.looked())
    }

    fn looked(&self) -> Looked {
        // A zone that was never readable fails: others must not answer for its names.
        let zone = |file: &File<OwnedName, Arc<StaticZone>>| {
            file.good.clone().unwrap_or_else(|| Arc::new(StaticZone::unusable(file.purpose.clone())))
        };
        let mut zones: Vec<_> = self.zones.iter().map(zone).collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.labels()));
        let blocks = self.blocks.iter().filter_map(|file| file.good.clone());
        let blocks = blocks.map(|names| Block { names, answer: BlockAnswer::NameError }).collect();
        let usable = self.zones.iter().map(|file| file.usable).chain(self.blocks.iter().map(|file| file.usable));
        Looked {
            config: Arc::new(Config { zones, blocks, ..Config::default() }),
            unusable: usable.filter(|usable| !usable).count(),
        }
    }
}

// === impl File ===

impl<P, C> File<P, C> {
    fn new(path: PathBuf, purpose: P) -> Self {
        Self { path, purpose, seen: None, good: None, usable: true }
    }

    /// Reads the file if it is another than before; whether it was.
    fn look(&mut self, parse: impl FnOnce(&str, &P) -> Result<C, TextFault>) -> bool {
        let seen = seen(&self.path);
        if seen == self.seen && (seen.is_some() || !self.usable) {
            return false;
        }
        self.seen = seen;
        let read = read(&self.path).and_then(|text| {
            let fault = |fault| DnsError::FileFault { path: self.path.clone(), fault };
            parse(&text, &self.purpose).map_err(fault)
        });
        match read {
            Ok(content) => {
                tracing::info!(path = %self.path.display(), "file read");
                self.good = Some(content);
                self.usable = true;
            }
            Err(error) => {
                tracing::error!(id = %error.id(), fix = error.fix(), cause = ?std::error::Error::source(&error), "{error}");
                self.usable = false;
            }
        }
        true
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Some(Seen { inode: metadata.ino(), octets: metadata.len(), modified })
}

fn read(path: &Path) -> Result<String, DnsError> {
    let failed = |source| DnsError::FileUnreadable { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > LARGEST_FILE {
        return Err(failed(std::io::Error::other("it is larger than 256 MiB")));
    }
    std::fs::read_to_string(path).map_err(failed)
}
