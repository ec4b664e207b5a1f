//! Where the Kubernetes programs come from: a folder of release binaries, or
//! `go install` of the module files embedded here, kept in a cache.
//!
//! Entry point: [`Programs::find`]. Each module set has its own cache folder,
//! named after a hash of its module files and build flags, so that a changed
//! pin builds anew and nothing else does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ClusterError;

mod build;
mod release;

/// One Go module file set under `kubernetes/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModuleSet {
    /// The Kubernetes programs themselves.
    Components,
    /// containerd, its shim and its client.
    Containerd,
    /// The store.
    Etcd,
    /// CoreDNS.
    Coredns,
    /// flannel.
    Flannel,
    /// The CNI project's test driver.
    Cni,
}

/// A program and the package it is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name of the file, and of the program in messages.
    pub name: &'static str,
    /// Go package.
    pub package: &'static str,
    /// Module set that pins it.
    pub set: ModuleSet,
}

/// What every lab runs.
pub const ALWAYS: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
    "etcd",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "agnhost",
];

/// Every program the lab can run.
pub const PROGRAMS: &[Program] = &[
    Program { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", set: ModuleSet::Components },
    Program {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        set: ModuleSet::Components,
    },
    Program { name: "kube-scheduler", package: "k8s.io/kubernetes/cmd/kube-scheduler", set: ModuleSet::Components },
    Program { name: "kubelet", package: "k8s.io/kubernetes/cmd/kubelet", set: ModuleSet::Components },
    Program { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", set: ModuleSet::Components },
    Program { name: "kube-proxy", package: "k8s.io/kubernetes/cmd/kube-proxy", set: ModuleSet::Components },
    Program { name: "agnhost", package: "k8s.io/kubernetes/test/images/agnhost", set: ModuleSet::Components },
    Program {
        name: "containerd",
        package: "github.com/containerd/containerd/v2/cmd/containerd",
        set: ModuleSet::Containerd,
    },
    Program {
        name: "containerd-shim-runc-v2",
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        set: ModuleSet::Containerd,
    },
    Program { name: "ctr", package: "github.com/containerd/containerd/v2/cmd/ctr", set: ModuleSet::Containerd },
    Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", set: ModuleSet::Etcd },
    Program { name: "coredns", package: "github.com/coredns/coredns", set: ModuleSet::Coredns },
    Program { name: "flannel", package: "github.com/flannel-io/flannel", set: ModuleSet::Flannel },
    Program { name: "cnitool", package: "github.com/containernetworking/cni/cnitool", set: ModuleSet::Cni },
];

/// The programs of one lab, each found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    paths: BTreeMap<String, PathBuf>,
}

/// Where to look before building.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramSource {
    /// Folder with release binaries (`--kubernetes-bin`).
    pub release_directory: Option<PathBuf>,
    /// Cache root, `$XDG_CACHE_HOME/seaway/programs`.
    pub cache_directory: PathBuf,
}

// === impl Programs ===

impl Programs {
    /// Finds `names`, builds what is in neither the release folder nor the
    /// cache. `progress` gets a line now and then while Go compiles.
    ///
    /// # Errors
    /// A release binary of an unsupported version, no Go toolchain, or a build that fails.
    pub fn find(names: &[&str], source: &ProgramSource, progress: &mut dyn FnMut(&str)) -> Result<Self, ClusterError> {
        let mut found = Self::default();
        let mut missing: BTreeMap<ModuleSet, Vec<Program>> = BTreeMap::new();
        for name in names {
            let program = PROGRAMS
                .iter()
                .find(|p| p.name == *name)
                .ok_or_else(|| ClusterError::UnknownProgram { name: (*name).to_owned() })?;
            match source.existing(program)? {
                Some(path) => {
                    found.paths.insert(program.name.to_owned(), path);
                }
                None => missing.entry(program.set).or_default().push(*program),
            }
        }
        for (set, programs) in missing {
            let directory = source.directory_of(set);
            build::install(set, &programs, &directory, progress)?;
            for program in programs {
                found.paths.insert(program.name.to_owned(), directory.join(program.name));
            }
        }
        Ok(found)
    }

    /// Puts the programs that are in `hidden`, a folder nodes may not see, where
    /// they do: in `visible`.
    ///
    /// # Errors
    /// A program can be neither linked nor copied.
    pub fn make_visible(&mut self, hidden: &Path, visible: &Path) -> Result<(), ClusterError> {
        let storage = |path: &Path| {
            let path = path.to_owned();
            move |source| ClusterError::Storage { path, source }
        };
        std::fs::create_dir_all(visible).map_err(storage(visible))?;
        for (name, path) in self.paths.iter_mut().filter(|(_, path)| path.starts_with(hidden)) {
            let seen = visible.join(name);
            // Another file system takes no hard link.
            if std::fs::hard_link(&*path, &seen).is_err() {
                std::fs::copy(&*path, &seen).map_err(storage(&seen))?;
            }
            *path = seen;
        }
        Ok(())
    }

    /// Path of a program that was asked for in [`Programs::find`].
    ///
    /// # Errors
    /// It was not asked for.
    pub fn path(&self, name: &str) -> Result<&Path, ClusterError> {
        self.paths.get(name).map(PathBuf::as_path).ok_or_else(|| ClusterError::UnknownProgram { name: name.to_owned() })
    }
}

// === impl ProgramSource ===

impl ProgramSource {
    fn existing(&self, program: &Program) -> Result<Option<PathBuf>, ClusterError> {
        if let Some(directory) = &self.release_directory {
            let path = directory.join(program.name);
            if path.is_file() {
                release::check_version(program, &path)?;
                return Ok(Some(path));
            }
        }
        let path = self.directory_of(program.set).join(program.name);
        Ok(path.is_file().then_some(path))
    }

    /// Cache folder of a module set.
    #[must_use]
    pub fn directory_of(&self, set: ModuleSet) -> PathBuf {
        self.cache_directory.join(format!("{}-{}", set.name(), set.fingerprint()))
    }
}

// === impl ModuleSet ===

/// Version given to the Kubernetes programs, as the release process does;
/// without it they call themselves v0.0.0 and clients refuse features.
const KUBERNETES_LINK_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.1 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

impl ModuleSet {
    /// Name of its folder under `kubernetes/`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::Containerd => "containerd",
            Self::Etcd => "etcd",
            Self::Coredns => "coredns",
            Self::Flannel => "flannel",
            Self::Cni => "cni",
        }
    }

    /// The module file and its sums.
    fn module_files(self) -> (&'static str, &'static str) {
        macro_rules! files {
            ($folder:literal) => {
                (
                    include_str!(concat!("../../../../kubernetes/", $folder, "/go.mod")),
                    include_str!(concat!("../../../../kubernetes/", $folder, "/go.sum")),
                )
            };
        }
        match self {
            Self::Components => files!("components"),
            Self::Containerd => files!("containerd"),
            Self::Etcd => files!("etcd"),
            Self::Coredns => files!("coredns"),
            Self::Flannel => files!("flannel"),
            Self::Cni => files!("cni"),
        }
    }

    /// Arguments of `go install` besides the packages.
    fn build_flags(self) -> Vec<&'static str> {
        let (tags, link_flags) = match self {
            Self::Components => (None, KUBERNETES_LINK_FLAGS),
            Self::Containerd => (Some("no_btrfs,no_devmapper,no_zfs"), "-s -w"),
            Self::Etcd | Self::Coredns | Self::Cni => (None, "-s -w"),
            Self::Flannel => (None, "-s -w -linkmode external -extldflags \"-static\""),
        };
        let mut flags = vec!["-mod=readonly", "-trimpath"];
        if let Some(tags) = tags {
            flags.extend(["-tags", tags]);
        }
        flags.extend(["-ldflags", link_flags]);
        flags
    }

    /// flannel's netlink use needs C; everything else is pure Go.
    fn needs_c(self) -> bool {
        self == Self::Flannel
    }

    /// Names the build: same fingerprint, same programs.
    fn fingerprint(self) -> String {
        let (module, sums) = self.module_files();
        let mut hash = Sha256::new();
        for part in [module, sums].into_iter().chain(self.build_flags()) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned_by_its_module_file() {
        for program in PROGRAMS {
            let (module, _) = program.set.module_files();
            assert!(
                module.lines().any(|line| line.trim_start_matches("tool").trim() == program.package),
                "{program:?}"
            );
        }
        for name in ALWAYS {
            assert!(PROGRAMS.iter().any(|p| p.name == *name), "{name}");
        }
    }

    #[test]
    fn a_cached_program_is_found_without_building() {
        let cache = tempfile::tempdir().unwrap();
        let source = ProgramSource { release_directory: None, cache_directory: cache.path().to_owned() };
        let folder = source.directory_of(ModuleSet::Etcd);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("etcd"), "").unwrap();
        let programs = Programs::find(&["etcd"], &source, &mut |line| panic!("{line}")).unwrap();
        assert_eq!(programs.path("etcd").unwrap(), folder.join("etcd"));
        assert!(programs.path("kubelet").is_err());
    }
}
