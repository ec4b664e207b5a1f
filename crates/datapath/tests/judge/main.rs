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
//! `SEAWAY_JUDGE_SEED` and `SEAWAY_JUDGE_CASES` (for each judge) ask for more than usual, or for less.
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
mod distribution;
mod ebpf;
mod expected;
mod generate;
mod oracle;
mod packets;
mod plans;
mod programmed;
mod random;
mod world;

use court::Docket;
use expected::Expected;
use generate::Size;
use packets::node::Node;
use programmed::{Programmed, Served};
use seaway_datapath::kernel::services::nftables::NftablesServices;
use world::addresses::{Kind, loopback};
use world::scenario::Client;

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
    court::hold(&mut plans::Plans, docket(40_000, Size { services: 30, rounds: 5, probes: 100 }));
}

#[test]
fn nftables_does_what_the_plans_say() {
    let mut judge = Programmed::new("nftables", open_nftables).that_owes(|_, probe, expected| {
        // IPv6 has nothing like `route_localnet`: a packet from ::1 cannot leave the host.
        let expected = if probe.to == loopback(false) { Expected::Untouched } else { expected };
        Some(expected.without_direct_return())
    });
    court::hold(&mut judge, docket(40_000, Size { services: 30, rounds: 5, probes: 150 }));
}

#[test]
fn ebpf_sockets_do_what_the_plans_say() {
    let mut judge = Programmed::new("eBPF sockets", ebpf::open_sockets).of_sockets().that_owes(ebpf::owes);
    court::hold(&mut judge, docket(20_000, Size { services: 30, rounds: 5, probes: 150 }));
}

#[test]
fn ebpf_packets_do_what_the_plans_say() {
    let mut judge = Programmed::new("eBPF packets", ebpf::open_packets).of_packets(ebpf::asks).that_owes(ebpf::owes);
    court::hold(&mut judge, docket(40_000, Size { services: 30, rounds: 5, probes: 150 }));
}

#[test]
fn nftables_spreads_connections() {
    let mut node = Node::new();
    let mut services = open_nftables(&node);
    distribution::check(&mut node, services.as_mut(), |number| Client::Elsewhere(Kind::Outside, number));
}

#[test]
fn ebpf_spreads_packets() {
    let mut node = Node::with_links();
    let mut services = ebpf::open_packets(&node);
    distribution::check(&mut node, services.as_mut(), |number| Client::Elsewhere(Kind::Outside, number));
}

fn open_nftables(_node: &Node) -> Box<dyn Served> {
    Box::new(NftablesServices::open("/proc/sys".into()).expect("opening nftables"))
}
