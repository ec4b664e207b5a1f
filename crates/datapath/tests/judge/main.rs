//! The judge of Services: random clusters, and the question where a packet goes.
//!
//! ```text
//! generate ─▶ Scenario ─┬▶ oracle (straight from the objects)
//!                       ├▶ plans: ServiceTable ─▶ ServicePlans ─▶ reference::trace
//!                       └▶ data paths: the same plans in the kernel, real packets
//! ```
//!
//! `plans` judges the pure core by the oracle, the others judge data paths by the pure core.
//! A disagreement is made small and printed; kept in `golden/`, it is played first in every run.
//! `SEAWAY_JUDGE_SEED` and `SEAWAY_JUDGE_CASES` (for each judge) ask for more than usual.
//! Everything but `plans` needs root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

mod affinity;
mod court;
mod expected;
mod generate;
mod oracle;
mod packets;
mod plans;
mod programmed;
mod random;
mod world;

use std::net::SocketAddr;

use court::Docket;
use expected::Expected;
use generate::Size;
use packets::node::Node;
use programmed::Programmed;
use seaway_datapath::kernel::bpf::ServiceTables;
use seaway_datapath::kernel::services::ebpf::EbpfServices;
use seaway_datapath::kernel::services::nftables::NftablesServices;
use seaway_datapath::{Options, ServiceDatapath};
use seaway_services::FrontendAddress;
use world::addresses::loopback;
use world::scenario::Probe;

/// What is judged when nobody says otherwise.
fn docket(cases: u64, size: Size) -> Docket {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    Docket {
        seed: number("SEAWAY_JUDGE_SEED").unwrap_or(1),
        cases: number("SEAWAY_JUDGE_CASES").unwrap_or(cases),
        size,
    }
}

#[test]
fn plans_say_what_the_objects_say() {
    court::hold(&mut plans::Plans, docket(20_000, Size { services: 30, rounds: 5, probes: 100 }));
}

#[test]
fn nftables_does_what_the_plans_say() {
    let open = |_: &Node| -> Box<dyn ServiceDatapath> {
        Box::new(NftablesServices::open("/proc/sys".into()).expect("opening nftables"))
    };
    let mut judge = Programmed::new("nftables", open).that_owes(|_, probe, expected| {
        // IPv6 has nothing like `route_localnet`: a packet from ::1 cannot leave the host.
        Some(if probe.to == loopback(false) { Expected::Untouched } else { expected })
    });
    court::hold(&mut judge, docket(40_000, Size { services: 30, rounds: 5, probes: 150 }));
}

#[test]
fn ebpf_sockets_do_what_the_plans_say() {
    let mut judge = Programmed::new("eBPF sockets", open_ebpf).of_sockets().that_owes(|plans, probe, expected| {
        // The host stack cannot tell whom a socket called that now calls a backend's address. When
        // another Service claims just that place, either may win.
        let is_place = |backend: &SocketAddr| {
            let frontends = plans.iter().flat_map(|plan| &plan.frontends);
            frontends
                .filter(|one| one.protocol == probe.protocol && one.port == backend.port())
                .any(|one| one.at == FrontendAddress::Ip(backend.ip()))
        };
        let is_settled = !matches!(&expected, Expected::Backends { to, .. } if to.iter().any(is_place));
        is_settled.then_some(expected)
    });
    court::hold(&mut judge, docket(20_000, Size { services: 30, rounds: 5, probes: 150 }));
}

fn open_ebpf(node: &Node) -> Box<dyn ServiceDatapath> {
    let mut options = Options::default();
    options.cgroup_root = node.cgroup().expect("a node with sockets");
    options.fast_path.service_tables =
        ServiceTables { affine_clients: 1024, datagram_peers: 1024, ..ServiceTables::default() };
    Box::new(EbpfServices::open(&options).expect("opening eBPF"))
}
