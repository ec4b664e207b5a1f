//! What can go wrong with an image, and what to do about it.

use std::io;
use std::path::PathBuf;

use seaway_model::diagnosis::{Diagnose, ErrorId};

use super::digest::Digest;

/// Why an image could not be named, read, built, fetched or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name does not follow the grammar containerd uses.
    #[error("image name {name:?} is not valid: {problem}")]
    NameInvalid {
        /// The name as given.
        name: String,
        /// The rule it breaks.
        problem: String,
    },
    /// The archive cannot be opened or is no tar file.
    #[error("image archive {} cannot be read", path.display())]
    ArchiveUnreadable {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in the archive does not say what it must.
    #[error("image archive {}: {file}: field {field}: {problem}", path.display())]
    ArchiveField {
        /// The archive.
        path: PathBuf,
        /// File inside the archive.
        file: String,
        /// Field inside that file, as a JSON path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file another file refers to is not in the archive.
    #[error("image archive {}: {file} is missing, {wanted_by} refers to it", path.display())]
    ArchiveFileMissing {
        /// The archive.
        path: PathBuf,
        /// File that is not there.
        file: String,
        /// Who refers to it.
        wanted_by: String,
    },
    /// Content is not what its digest promises.
    #[error("{origin}: content has digest {actual}, but {expected} was promised")]
    DigestMismatch {
        /// Archive or URL, and the blob in it.
        origin: String,
        /// The digest that names it.
        expected: Digest,
        /// The digest of what was read.
        actual: Digest,
    },
    /// No manifest for this machine's architecture.
    #[error("{origin} has no image for {wanted}, only for {found}")]
    PlatformMissing {
        /// Archive or reference.
        origin: String,
        /// `linux/amd64`, for example.
        wanted: String,
        /// What it has instead.
        found: String,
    },
    /// The image store's own files cannot be used.
    #[error("image store: cannot {action} {}", path.display())]
    Store {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The program or directory an image is to be made of is not usable.
    #[error("cannot make an image of {}: {problem}", path.display())]
    SourceUnusable {
        /// The program or directory.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A registry could not be reached.
    #[error("registry {registry} cannot be reached: {problem}")]
    RegistryUnreachable {
        /// Host and port.
        registry: String,
        /// The connection error.
        problem: String,
    },
    /// A registry answered, but not with the image.
    #[error("{url}: {problem}")]
    RegistryAnswer {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The short-lived containerd did not start or refused the images.
    #[error("unpacking images with containerd failed while {stage}: {log_tail}")]
    Template {
        /// What was being done.
        stage: &'static str,
        /// Last lines containerd or ctr wrote.
        log_tail: String,
    },
    /// Images that something needs are in no store.
    #[error("image{} not in the lab's image store: {}", if names.len() == 1 { " is" } else { "s are" }, names.join(", "))]
    ImagesMissing {
        /// Full names.
        names: Vec<String>,
    },
    /// A node's containerd refused an image.
    #[error("node {node} did not take {image}: {problem}")]
    NodeImport {
        /// The node.
        node: String,
        /// The image.
        image: String,
        /// What ctr said.
        problem: String,
    },
}

impl ImageError {
    /// For `map_err` on file operations.
    pub(crate) fn store(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Store { action, path, source }
    }
}

impl Diagnose for ImageError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::NameInvalid { .. } => 975,
            Self::ArchiveUnreadable { .. } => 976,
            Self::ArchiveField { .. } => 977,
            Self::ArchiveFileMissing { .. } => 978,
            Self::DigestMismatch { .. } => 979,
            Self::PlatformMissing { .. } => 980,
            Self::Store { .. } => 981,
            Self::SourceUnusable { .. } => 982,
            Self::RegistryUnreachable { .. } => 983,
            Self::RegistryAnswer { .. } => 984,
            Self::Template { .. } => 985,
            Self::ImagesMissing { .. } => 986,
            Self::NodeImport { .. } => 987,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::NameInvalid { .. } => {
                "write it as [HOST/]PATH[:TAG], for example example.org/team/app:1.2".into()
            }
            Self::ArchiveUnreadable { .. } => {
                "give a tar file written by `docker save`, `podman save` or `ctr images export`, plain or gzip".into()
            }
            Self::ArchiveField { .. } | Self::ArchiveFileMissing { .. } => {
                "the archive is damaged or not an image; write it again with `docker save -o FILE IMAGE`".into()
            }
            Self::DigestMismatch { .. } => {
                "the content was damaged on the way; fetch or write it again".into()
            }
            Self::PlatformMissing { .. } => {
                "fetch the image for this architecture, or build it with `seaway lab image build`".into()
            }
            Self::Store { path, .. } => format!(
                "check space and permissions of {}; the image store may be deleted, it is filled again",
                path.display()
            ),
            Self::SourceUnusable { .. } => {
                "give a statically linked program (for Rust: -C target-feature=+crt-static, for Go: CGO_ENABLED=0) or a root directory with all libraries".into()
            }
            Self::RegistryUnreachable { .. } => {
                "images are fetched through this machine's network; check it, or bring the image as a file: `seaway lab image load FILE`".into()
            }
            Self::RegistryAnswer { .. } => {
                "check the name and tag; images that need a login can be brought as a file: `seaway lab image load FILE`".into()
            }
            Self::Template { .. } => {
                "run again; if it stays, the lines above say what containerd lacks on this machine".into()
            }
            Self::ImagesMissing { names } => bring_hint(names, super::DEFAULT_LAB),
            Self::NodeImport { .. } => {
                "look at the node's containerd log with `seaway lab logs`".into()
            }
        }
    }
}

/// The commands that bring the images to the lab called `lab`.
pub(crate) fn bring_hint(names: &[String], lab: &str) -> String {
    let flag = if lab == super::DEFAULT_LAB { String::new() } else { format!(" --name {lab}") };
    let pulls: Vec<String> = names.iter().map(|name| format!("`seaway lab image pull{flag} {name}`")).collect();
    format!("{}, or from a file written by `docker save`: `seaway lab image load{flag} FILE`", pulls.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_lab_unless_it_is_the_default() {
        let names = ["a:1".to_owned(), "b:2".to_owned()];
        assert!(
            bring_hint(&names, "default").starts_with("`seaway lab image pull a:1`, `seaway lab image pull b:2`, or")
        );
        let hint = bring_hint(&names, "two");
        assert!(hint.contains("pull --name two a:1") && hint.contains("load --name two FILE"), "{hint}");
    }
}
