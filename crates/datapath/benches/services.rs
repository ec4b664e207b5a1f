//! How long a node's Services take without a cluster around them, in both data paths: everything
//! anew, one changed endpoint, taking over what an earlier process left, and the memory for it all.
//! From changes as the watch tells them to the kernel. Prints a table; needs root.
//!
//! `cargo bench -p seaway-datapath --bench services [-- <services>x<endpoints> ...] [ebpf|nftables]`

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement that fails says so and ends")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seaway_datapath::kernel::services::ebpf::EbpfServices;
use seaway_datapath::kernel::services::nftables::NftablesServices;
use seaway_datapath::{Options, ServiceDatapath, ServiceNode};
use seaway_model::service::{AddressType, Endpoint, EndpointPort, ServiceKind, ServicePort, TrafficPolicy};
use seaway_model::{EndpointSlice, NodeName, PodRef, Protocol, Service, ServiceChange, ServiceRef, SliceRef};
use seaway_services::{NodeView, ServiceTable};

/// Services and endpoints of all of them, when nothing else is asked for.
const SIZES: [(u32, u32); 4] = [(10, 50), (10_000, 50_000), (50_000, 100_000), (50_000, 250_000)];
/// Changes measured one by one.
const CHANGES: usize = 200;
/// Changes told at once, as the watch does after a start.
const BATCH: usize = 4096;
/// Nodes that the endpoints run on.
const NODES: u32 = 500;

/// Names that endpoints have in common, shared as the watch shares them.
static SHARED_NODES: LazyLock<Vec<NodeName>> =
    LazyLock::new(|| (0..NODES).map(|number| NodeName::from(format!("node-{number}"))).collect());
static SHARED_ZONE: LazyLock<Arc<str>> = LazyLock::new(|| "zone-a".into());

/// Where it runs, made once.
struct Place {
    cgroup: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Ebpf,
    Nftables,
}

fn address(base: u32, number: u32) -> IpAddr {
    Ipv4Addr::from(base + number).into()
}

fn service(number: u32) -> ServiceChange {
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: None, app_protocol: None };
    let now = Service {
        uid: format!("5ea3a700-0000-8000-8000-{number:012}"),
        created_at_seconds: 1,
        kind: ServiceKind::ClusterIP,
        // 10.64.0.0 and on.
        cluster_ips: vec![address(0x0a40_0000, number)],
        headless: false,
        ports: vec![port],
        external_ips: Vec::new(),
        ingress: Vec::new(),
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready_addresses: false,
        traffic_distribution: Default::default(),
        external_name: None,
        labels: Default::default(),
        annotations: Default::default(),
    };
    ServiceChange::Service { of: ServiceRef::new("bench", name(number)), now: Some(Arc::new(now)) }
}

fn name(number: u32) -> String {
    format!("service-{number}")
}

fn slice(number: u32, endpoints: u32, shift: u32) -> ServiceChange {
    let port = EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: Some(8080), app_protocol: None };
    let endpoint = |index: u32| Endpoint {
        // 10.128.0.0 and on.
        addresses: vec![address(0x0a80_0000, number * endpoints + index + shift)],
        ready: true,
        serving: true,
        terminating: false,
        hostname: None,
        node: Some(SHARED_NODES[((number + index) % NODES) as usize].clone()),
        zone: Some(Arc::clone(&SHARED_ZONE)),
        pod: Some(PodRef { namespace: "bench".into(), name: format!("{}-7d9c5b7b9d-{index:05}", name(number)) }),
        zone_hints: Default::default(),
        node_hints: Default::default(),
    };
    let now = EndpointSlice {
        imported: None,
        service: Some(name(number)),
        address_type: AddressType::IPv4,
        ports: vec![port],
        endpoints: (0..endpoints).map(endpoint).collect(),
        changed_at_milliseconds: None,
    };
    let of = SliceRef { namespace: "bench".into(), name: format!("{}-x7k2p", name(number)) };
    ServiceChange::Slice { of, now: Some(Arc::new(now)) }
}

impl Backend {
    fn open(self, place: &Place) -> Box<dyn ServiceDatapath> {
        let mut opened: Box<dyn ServiceDatapath> = match self {
            Backend::Ebpf => {
                let options = Options { cgroup_root: place.cgroup.clone(), ..Options::default() };
                Box::new(EbpfServices::open(&options).expect("loading programs needs root"))
            }
            Backend::Nftables => {
                Box::new(NftablesServices::open("/proc/sys".into()).expect("connecting to nf_tables needs root"))
            }
        };
        let node = ServiceNode {
            service_cidrs: vec!["10.64.0.0/10".parse().expect("a range")],
            pod_cidrs: vec!["10.128.0.0/9".parse().expect("a range")],
            ..ServiceNode::default()
        };
        opened.set_node(&node).expect("the tables can be made");
        opened
    }
}

fn table() -> ServiceTable {
    ServiceTable::new(NodeView::new(NodeName::from("node-0")), Default::default())
}

/// Tells everything, as after a start; returns how long plans and kernel took.
fn tell(table: &mut ServiceTable, opened: &mut dyn ServiceDatapath, services: u32, endpoints: u32) -> Duration {
    let mut took = Duration::ZERO;
    let all = (0..services).map(service).chain((0..services).map(|number| slice(number, endpoints / services, 0)));
    let mut all = all.chain([ServiceChange::Synced]);
    loop {
        // Made by and by, as a watch hears them.
        let batch: Vec<ServiceChange> = all.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        let start = Instant::now();
        let plans = table.apply(&batch);
        if !plans.is_empty() {
            opened.apply(&plans).expect("a batch is applied");
        }
        took += start.elapsed();
    }
    let start = Instant::now();
    opened.synced().expect("the rest goes");
    took + start.elapsed()
}

fn resident_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn measure(backend: Backend, place: &Place, services: u32, endpoints: u32) {
    let start = Instant::now();
    let mut opened = backend.open(place);
    let opening = start.elapsed();
    let before = resident_megabytes();
    let mut known = table();
    let cold = tell(&mut known, opened.as_mut(), services, endpoints);
    let memory = resident_megabytes().saturating_sub(before);
    let mut times: Vec<Duration> = Vec::new();
    for index in 0..CHANGES {
        let number = u32::try_from(index).expect("few changes") * 7919 % services;
        for shift in [1, 0] {
            let change = [slice(number, endpoints / services, shift)];
            let start = Instant::now();
            let plans = known.apply(&change);
            opened.apply(&plans).expect("a change is applied");
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    drop((opened, known));
    let start = Instant::now();
    let mut second = backend.open(place);
    let adopted = start.elapsed();
    let again = tell(&mut table(), second.as_mut(), services, endpoints);
    let start = Instant::now();
    let differences = second.audit().expect("the tables can be read");
    let audit = start.elapsed();
    assert!(differences.is_empty(), "{differences:?}");
    second.uninstall().expect("everything can be removed");
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "| {backend:?} | {services} | {endpoints} | {opening:.2?} + {cold:.2?} | {median:.2?} | {worst:.2?} | {adopted:.2?} + {again:.2?} | {audit:.2?} | {memory} MiB |"
    );
}

/// Namespaces and a cgroup of its own: nothing of the machine is touched.
fn enter() -> Place {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("making a namespace needs root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("own mounts");
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).expect("an own BPF file system");
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none).expect("cgroup v2");
    let cgroup = PathBuf::from(format!("/sys/fs/cgroup/seaway-bench-{}", std::process::id()));
    std::fs::create_dir(&cgroup).expect("making a cgroup needs root");
    Place { cgroup }
}

fn main() {
    // `cargo test --all-targets` starts it without, and means to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let place = enter();
    let asked: Vec<(u32, u32)> = std::env::args()
        .filter_map(|argument| {
            let (services, endpoints) = argument.split_once('x')?;
            Some((services.parse().ok()?, endpoints.parse().ok()?))
        })
        .collect();
    let is_asked = |name: &str| std::env::args().any(|argument| argument == name);
    println!(
        "| Data path | Services | endpoints | cold start | one change, median | worst | taking over | audit | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (services, endpoints) in if asked.is_empty() { SIZES.to_vec() } else { asked } {
        for (backend, name) in [(Backend::Ebpf, "ebpf"), (Backend::Nftables, "nftables")] {
            let other = if backend == Backend::Ebpf { "nftables" } else { "ebpf" };
            if is_asked(name) || !is_asked(other) {
                measure(backend, &place, services, endpoints);
            }
        }
    }
    // Programs on it are gone with their links; an empty cgroup can be removed.
    std::fs::remove_dir(&place.cgroup).expect("the cgroup is empty");
}
