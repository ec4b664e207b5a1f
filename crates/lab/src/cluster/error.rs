//! What can go wrong with the cluster in a lab, ids SW0950 to SW0974.

use std::path::PathBuf;
use std::process::ExitStatus;

use seaway_model::{Diagnose, ErrorId};

/// An error of the Kubernetes cluster in a lab.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A name that is none of the lab's programs, or was not asked for.
    #[error("the lab has no program named {name:?}")]
    UnknownProgram {
        /// The name.
        name: String,
    },
    /// `go` cannot be run.
    #[error("cannot build the {set} programs: the Go toolchain does not run")]
    NoGoToolchain {
        /// Module set.
        set: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// `go install` failed.
    #[error("building the {set} programs failed ({status}):\n{last_lines}")]
    BuildFailed {
        /// Module set.
        set: &'static str,
        /// How the compiler ended.
        status: ExitStatus,
        /// Its last lines.
        last_lines: String,
    },
    /// A release binary of another minor version.
    #[error("{} is {version:?}, not a supported version of {program}", path.display())]
    UnsupportedVersion {
        /// Program.
        program: &'static str,
        /// The file.
        path: PathBuf,
        /// What `--version` printed.
        version: String,
    },
    /// A file or folder of the cluster cannot be read or written.
    #[error("cannot use {}", path.display())]
    Storage {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificates could not be made.
    #[error("cannot make the cluster's certificates")]
    Certificates(#[from] rcgen::Error),
    /// A kubeconfig for somebody without a certificate.
    #[error("there is no certificate file {file}")]
    NoCertificate {
        /// The file.
        file: String,
    },
    /// No container runtime on the machine.
    #[error("neither crun nor runc is installed")]
    NoRuntime,
    /// A Kubernetes program ended while the cluster was being started.
    #[error("{program} on node {node} ended while the cluster started ({how}); its last lines:\n{last_lines}")]
    ProgramDied {
        /// Program.
        program: String,
        /// Node.
        node: String,
        /// Exit status or signal.
        how: String,
        /// Last lines of its log.
        last_lines: String,
    },
    /// Something did not become ready in time.
    #[error("{what} not ready after {seconds} s: {state}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen last.
        state: String,
    },
    /// The API server refused a request, or did not answer.
    #[error("the API server did not {action}")]
    Api {
        /// What was asked.
        action: String,
        /// What the client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client for the API server cannot be made.
    #[error("cannot use the cluster's kubeconfig: {reason}")]
    Kubeconfig {
        /// What is wrong.
        reason: String,
    },
    /// A manifest that is no Kubernetes object.
    #[error("{name} is not a Kubernetes manifest: {reason}")]
    Manifest {
        /// Name of the manifest.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The process that forwards host ports is not there.
    #[error("the forwarder of lab {lab} does not answer")]
    Forwarder {
        /// Lab.
        lab: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A port on the host is taken.
    #[error("cannot listen on 127.0.0.1:{port}: {reason}")]
    PortTaken {
        /// Port asked for.
        port: u16,
        /// What the forwarder said.
        reason: String,
    },
    /// No such Service, or no such port of it.
    #[error("service {namespace}/{service}: {reason}")]
    Service {
        /// Namespace.
        namespace: String,
        /// Service.
        service: String,
        /// What is missing.
        reason: String,
    },
    /// The connectivity test could not be run at all.
    #[error("the connectivity test cannot run: {reason}")]
    TestSetup {
        /// Why.
        reason: String,
    },
}

// === impl ClusterError ===

impl ClusterError {
    /// Whether the API server has no object of that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        source.downcast_ref::<kube::core::Status>().is_some_and(|status| status.code == 404)
    }
}

impl Diagnose for ClusterError {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::UnknownProgram { .. } => 950,
            Self::NoGoToolchain { .. } => 951,
            Self::BuildFailed { .. } => 952,
            Self::UnsupportedVersion { .. } => 953,
            Self::Storage { .. } => 954,
            Self::Certificates(_) => 955,
            Self::NoCertificate { .. } => 956,
            Self::NoRuntime => 957,
            Self::ProgramDied { .. } => 958,
            Self::NotReady { .. } => 959,
            Self::Api { .. } => 960,
            Self::Kubeconfig { .. } => 961,
            Self::Manifest { .. } => 962,
            Self::Forwarder { .. } => 963,
            Self::PortTaken { .. } => 964,
            Self::Service { .. } => 965,
            Self::TestSetup { .. } => 966,
        })
    }

    fn fix(&self) -> String {
        match self {
            Self::UnknownProgram { .. } => "this is a defect of the lab; report it with the command you ran".into(),
            Self::NoGoToolchain { .. } => {
                "install Go 1.26 (https://go.dev/dl), or give the release binaries with --kubernetes-bin".into()
            }
            Self::BuildFailed { .. } => {
                "read the compiler's lines above; the first build downloads Go modules and needs a module proxy".into()
            }
            Self::UnsupportedVersion { .. } => {
                "use Kubernetes 1.34 to 1.36, see docs/reference/kubernetes-versions.md".into()
            }
            Self::Storage { .. } => "check free space, permissions and that the file system is writable".into(),
            Self::Certificates(_) | Self::NoCertificate { .. } | Self::Kubeconfig { .. } => {
                "remove the lab with `seaway lab down` and make it anew".into()
            }
            Self::NoRuntime => "apt-get install runc".into(),
            Self::ProgramDied { program, node, .. } => {
                format!("read its lines above; with --keep-on-failure `seaway lab logs {node} {program}` has them all")
            }
            Self::NotReady { .. } => {
                "run again with --keep-on-failure, then `seaway lab status` and `seaway lab logs NODE PROGRAM`".into()
            }
            Self::Api { .. } => "`seaway lab status` shows whether the API server runs; its log has the reason".into(),
            Self::Manifest { .. } => "correct the manifest".into(),
            Self::Forwarder { lab, .. } => {
                format!("make the lab anew: `seaway lab down --name {lab}`, then `seaway lab up --name {lab}`")
            }
            Self::PortTaken { .. } => "free the port, or leave --host-port out for the next free one".into(),
            Self::Service { namespace, .. } => format!("`kubectl -n {namespace} get services` lists what there is"),
            Self::TestSetup { .. } => "`seaway lab status` shows what is not ready".into(),
        }
    }
}

/// An error and all its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
