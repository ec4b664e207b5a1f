//! What this kernel can do, and which backend follows from it.

use std::fmt;

/// The backend the operator asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The best this kernel has.
    #[default]
    Auto,
    /// BPF programs on the pod links.
    Ebpf,
    /// Kernel routing with nftables.
    Nftables,
}

/// The backend that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// BPF programs on the pod links, over complete kernel routing.
    Ebpf,
    /// Kernel routing with nftables.
    Nftables,
}

/// One thing a kernel may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Name, stable: `veth`, `vxlan`, `tcx`, …
    pub name: &'static str,
    /// Which backends cannot do without.
    pub needed_by: Need,
    /// `Ok` or why not.
    pub state: Result<(), String>,
}

/// Who cannot do without a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Both backends.
    Both,
    /// The eBPF backend.
    Ebpf,
    /// The nftables backend.
    Nftables,
    /// Nobody; it is used when there.
    Nobody,
}

/// What this kernel can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSupport {
    /// All features looked at.
    pub features: Vec<Feature>,
}

/// A backend and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenBackend {
    /// Which.
    pub backend: Backend,
    /// Why, one sentence.
    pub reason: String,
}

// === impl Backend ===

impl Backend {
    /// Name as users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl KernelSupport ===

impl KernelSupport {
    /// Names of the features that `backend` needs and this kernel lacks, with the reasons.
    #[must_use]
    pub fn missing_for(&self, backend: Backend) -> Vec<String> {
        let needed = |need: Need| match need {
            Need::Both => true,
            Need::Ebpf => backend == Backend::Ebpf,
            Need::Nftables => backend == Backend::Nftables,
            Need::Nobody => false,
        };
        let missing = self.features.iter().filter(|feature| needed(feature.needed_by));
        missing
            .filter_map(|feature| feature.state.as_ref().err().map(|reason| format!("{}: {reason}", feature.name)))
            .collect()
    }

    /// The backend for `choice`, or the name and the lacks of the one that cannot run.
    pub fn choose(&self, choice: BackendChoice) -> Result<ChosenBackend, (Backend, String)> {
        let check = |backend: Backend| {
            let missing = self.missing_for(backend);
            if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
        };
        match choice {
            BackendChoice::Ebpf => check(Backend::Ebpf)
                .map(|()| ChosenBackend { backend: Backend::Ebpf, reason: "configured".into() })
                .map_err(|lacks| (Backend::Ebpf, lacks)),
            BackendChoice::Nftables => check(Backend::Nftables)
                .map(|()| ChosenBackend { backend: Backend::Nftables, reason: "configured".into() })
                .map_err(|lacks| (Backend::Nftables, lacks)),
            BackendChoice::Auto => match check(Backend::Ebpf) {
                Ok(()) => {
                    Ok(ChosenBackend { backend: Backend::Ebpf, reason: "the kernel has everything it needs".into() })
                }
                Err(lacks) => check(Backend::Nftables)
                    .map(|()| ChosenBackend {
                        backend: Backend::Nftables,
                        reason: format!("eBPF cannot run here: {lacks}"),
                    })
                    .map_err(|also| (Backend::Nftables, format!("{also}; nor can eBPF: {lacks}"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(tcx: bool, nft: bool) -> KernelSupport {
        let state = |there: bool| if there { Ok(()) } else { Err("absent".to_owned()) };
        KernelSupport {
            features: vec![
                Feature { name: "tcx", needed_by: Need::Ebpf, state: state(tcx) },
                Feature { name: "nft", needed_by: Need::Nftables, state: state(nft) },
                Feature { name: "nflog", needed_by: Need::Nobody, state: state(false) },
            ],
        }
    }

    #[test]
    fn the_best_backend_is_chosen_with_a_reason() {
        assert_eq!(kernel(true, true).choose(BackendChoice::Auto).unwrap().backend, Backend::Ebpf);
        let fallback = kernel(false, true).choose(BackendChoice::Auto).unwrap();
        assert_eq!(fallback.backend, Backend::Nftables);
        assert!(fallback.reason.contains("tcx: absent"), "{}", fallback.reason);
        assert_eq!(kernel(false, true).choose(BackendChoice::Ebpf).unwrap_err().0, Backend::Ebpf);
        assert!(kernel(false, false).choose(BackendChoice::Auto).is_err());
    }
}
