//! What this kernel can do, found by doing it in a network namespace of its own.

use std::os::fd::AsFd as _;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use seaway_model::MacAddress;

use super::netlink::Netlink;
use super::nflog::DropLog;
use super::nft::Nft;
use super::rtnetlink::link::{self, VethEnd};
use super::{bpf, netns};
use crate::DatapathError;
use crate::plan::{Ruleset, TunnelDevice};
use crate::support::{Backend, Feature, KernelSupport, Need};

/// Tries everything.
#[must_use]
pub fn probe() -> KernelSupport {
    let tried = thread::Builder::new().name("seaway-probe".to_owned()).spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("no network namespace can be made ({error}): CAP_SYS_ADMIN is needed"))
            .map(|()| in_own_namespace())
    });
    let tried = tried
        .map_err(|error| error.to_string())
        .and_then(|thread| thread.join().unwrap_or_else(|_| Err("the probing thread died".to_owned())));
    let mut features = match tried {
        Ok(features) => features,
        Err(reason) => vec![Feature { name: "network-namespaces", needed_by: Need::Both, state: Err(reason) }],
    };
    features.extend(fast_path());
    KernelSupport { features }
}

fn in_own_namespace() -> Vec<Feature> {
    let feature = |name, needed_by, tried: Result<(), DatapathError>| Feature {
        name,
        needed_by,
        state: tried.map_err(|error| error.to_string()),
    };
    vec![
        Feature { name: "network-namespaces", needed_by: Need::Both, state: Ok(()) },
        feature("veth", Need::Both, veth()),
        // Needed by pools with encapsulation only; those without it work all the same.
        feature("vxlan", Need::Nobody, vxlan()),
        feature("nftables-masquerade", Need::Both, rules(Backend::Ebpf)),
        feature("nftables-source-check", Need::Nftables, rules(Backend::Nftables)),
        feature("nflog", Need::Nobody, DropLog::open().map(drop)),
    ]
}

fn veth() -> Result<(), DatapathError> {
    let own = netns::own().map_err(|source| DatapathError::Kernel {
        operation: "open",
        object: "the own network namespace".to_owned(),
        source,
    })?;
    let end = |name, last| VethEnd { name, mac: MacAddress([2, 0, 0, 0, 0, last]), mtu_bytes: 1400 };
    let pair = link::add_veth(&end("sw_probe0", 1), &end("sw_probe1", 2), own.as_fd());
    Netlink::route()?.run(vec![pair]).map(drop)
}

fn vxlan() -> Result<(), DatapathError> {
    let device = TunnelDevice {
        id: 83,
        port: 4789,
        local: None,
        learning: false,
        mac: MacAddress([2, 0, 0, 0, 0, 3]),
        mtu_bytes: 1400,
        up: false,
    };
    Netlink::route()?.run(vec![link::add_vxlan("sw_probe2", &device)]).map(drop)
}

fn rules(backend: Backend) -> Result<(), DatapathError> {
    Nft::open()?.install(&Ruleset::Ours { backend, tunnel_port: Some(4789) }, &[], "")
}

fn fast_path() -> Vec<Feature> {
    let found = bpf::probe();
    let feature = |name, needed_by, state| Feature { name, needed_by, state };
    vec![
        feature("bpf-programs", Need::Ebpf, found.programs),
        feature("bpf-maps", Need::Ebpf, found.maps),
        feature("bpf-ring-buffer", Need::Ebpf, found.ring_buffer),
        feature("bpf-redirect-peer", Need::Ebpf, found.redirect_peer),
        feature("bpf-redirect-neigh", Need::Ebpf, found.redirect_neigh),
        feature("bpf-tcx", Need::Nobody, found.tcx),
        feature("bpf-xdp", Need::Nobody, found.xdp),
    ]
}
