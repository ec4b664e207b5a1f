//! How long the nftables backend takes for many Services: everything anew, one changed endpoint,
//! and taking over what an earlier process left. Prints a table; needs root.
//!
//! `cargo bench -p seaway-datapath --bench services_nftables [-- <services>x<endpoints> ...]`

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement that fails says so and ends")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use seaway_datapath::kernel::services::nftables::NftablesServices;
use seaway_datapath::{ServiceDatapath, ServiceNode};
use seaway_model::{Protocol, ServiceRef};
use seaway_services::plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, Reach, ServicePlan,
};

/// Services and endpoints of all of them, when nothing else is asked for.
const SIZES: [(u32, u32); 4] = [(10, 50), (10_000, 50_000), (50_000, 100_000), (50_000, 250_000)];
/// Changes measured one by one.
const CHANGES: usize = 200;
/// Services told at once, as after a start.
const BATCH: usize = 1000;

fn address(base: u32, number: u32) -> IpAddr {
    Ipv4Addr::from(base + number).into()
}

fn plan(number: u32, endpoints: u32, shift: u32) -> Arc<ServicePlan> {
    let reach = Reach::Backends { set: 0, hide_client: false };
    let frontend = Frontend {
        // 10.64.0.0 and on.
        at: FrontendAddress::Ip(address(0x0a40_0000, number)),
        protocol: Protocol::Tcp,
        port: 80,
        kind: FrontendKind::ClusterIp,
        port_name: "http".to_owned(),
        inside: reach,
        outside: reach,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        algorithm: Algorithm::Random,
        forwarding: Forwarding::Nat,
    };
    let backends = (0..endpoints).map(|index| Backend {
        // 10.128.0.0 and on.
        address: address(0x0a80_0000, number * endpoints + index + shift),
        port: 8080,
        weight: 1,
        local: false,
        node: None,
    });
    Arc::new(ServicePlan {
        service: ServiceRef::new("bench", format!("service-{number}")),
        frontends: vec![frontend],
        sets: vec![BackendSet { backends: backends.collect() }],
        terminating: Vec::new(),
        health_check: None,
    })
}

fn everything(services: u32, endpoints: u32) -> Vec<PlanChange> {
    (0..services).map(|number| PlanChange::Set(plan(number, endpoints / services, 0))).collect()
}

fn open() -> NftablesServices {
    let mut opened = NftablesServices::open("/proc/sys".into()).expect("connecting to nf_tables needs root");
    let node = ServiceNode {
        service_cidrs: vec!["10.64.0.0/10".parse().expect("a range")],
        pod_cidrs: vec!["10.128.0.0/9".parse().expect("a range")],
        ..ServiceNode::default()
    };
    opened.set_node(&node).expect("the tables can be made");
    opened
}

fn tell(services: &mut NftablesServices, changes: &[PlanChange]) -> Duration {
    let start = Instant::now();
    for batch in changes.chunks(BATCH) {
        services.apply(batch).expect("a batch is applied");
    }
    services.synced().expect("the rest goes");
    start.elapsed()
}

fn resident_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn measure(services: u32, endpoints: u32) {
    let changes = everything(services, endpoints);
    let before = resident_megabytes();
    let mut opened = open();
    let cold = tell(&mut opened, &changes);
    let memory = resident_megabytes().saturating_sub(before);
    let mut times: Vec<Duration> = Vec::new();
    for index in 0..CHANGES {
        let number = u32::try_from(index).expect("few changes") * 7919 % services;
        let change = [PlanChange::Set(plan(number, endpoints / services, 1))];
        let start = Instant::now();
        opened.apply(&change).expect("a change is applied");
        times.push(start.elapsed());
        let back = [PlanChange::Set(plan(number, endpoints / services, 0))];
        opened.apply(&back).expect("a change is applied");
    }
    times.sort_unstable();
    drop(opened);
    let start = Instant::now();
    let mut second = open();
    let adopted = start.elapsed();
    let again = tell(&mut second, &changes);
    let start = Instant::now();
    let differences = second.audit().expect("the tables can be read");
    let audit = start.elapsed();
    assert!(differences.is_empty(), "{differences:?}");
    second.uninstall().expect("the tables can be removed");
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "| {services} | {endpoints} | {cold:.2?} | {median:.2?} | {worst:.2?} | {adopted:.2?} + {again:.2?} | {audit:.2?} | {memory} MB |"
    );
}

fn main() {
    // `cargo test --all-targets` starts it without, and means to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("making a namespace needs root");
    let asked: Vec<(u32, u32)> = std::env::args()
        .filter_map(|argument| {
            let (services, endpoints) = argument.split_once('x')?;
            Some((services.parse().ok()?, endpoints.parse().ok()?))
        })
        .collect();
    println!("| Services | endpoints | cold start | one change, median | worst | taking over | audit | memory |");
    println!("|---|---|---|---|---|---|---|---|");
    for (services, endpoints) in if asked.is_empty() { SIZES.to_vec() } else { asked } {
        measure(services, endpoints);
    }
}
