//! Loaders come and go; what they left in the kernel works on.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use libbpf_rs::{MapHandle, MapType};
use seaway_model::abi;

use super::super::{FastPath, FastPathConfig, Program, ReplacedMap};
use super::hand::{Node, PIN_DIR, Pod};
use super::traffic::{PingPong, eventually};

/// Tells a copy of the test program to be the loader that is killed.
const LOADER: &str = "SEAWAY_TEST_LOADER";

fn node_with_two_pods() -> (Node, Pod, Pod) {
    let node = Node::new();
    let (one, two) = (node.add_pod(1, 1), node.add_pod(1, 2));
    node.load(FastPathConfig::default());
    node.attach(&one);
    node.attach(&two);
    (node, one, two)
}

/// Ids of the programs that run on a link.
fn running_programs(node: &Node, pod: &Pod) -> Vec<u32> {
    use super::super::sys::{self, Direction};
    let index = pod.index;
    let id = move |(program, direction): (Program, Direction)| {
        use std::os::fd::AsFd as _;
        let path = Path::new(PIN_DIR).join(format!("links/{}-{index}", program.name()));
        if path.is_dir() {
            return sys::query_clsact(index, direction).unwrap().unwrap();
        }
        sys::link_info(sys::open_pinned(&path).unwrap().as_fd()).unwrap().program_id
    };
    let places = [(Program::FromPod, Direction::Ingress), (Program::ToPod, Direction::Egress)];
    node.namespace.run(move || places.map(id).to_vec())
}

fn be_the_loader() -> ! {
    let (_fast_path, adoption) = FastPath::load_or_adopt(Path::new(PIN_DIR), &FastPathConfig::default()).unwrap();
    println!("\nloaded over {} attachments", adoption.attachments.len());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_loader_is_killed_and_replaced_while_traffic_flows() {
    if std::env::var_os(LOADER).is_some() {
        be_the_loader();
    }
    let (node, one, two) = node_with_two_pods();
    let first = running_programs(&node, &one);
    let traffic = PingPong::start(&one, &two, two.ipv4.into());
    traffic.go_on_for(100);
    node.forget();
    let test = std::thread::current().name().unwrap().to_owned();
    let mut loader = node.namespace.run(move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &test, "--nocapture"]).env(LOADER, "1").stdout(Stdio::piped());
        command.spawn().unwrap()
    });
    let mut lines = BufReader::new(loader.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "loaded over 4 attachments"));
    let second = running_programs(&node, &one);
    traffic.go_on_for(100);
    loader.kill().unwrap();
    loader.wait().unwrap();
    traffic.go_on_for(100);
    assert_eq!(running_programs(&node, &one), second, "the dead loader's programs run on");
    let adoption = node.load(FastPathConfig::default());
    assert_eq!((adoption.attachments.len(), adoption.attachments_are_current), (4, true));
    traffic.go_on_for(100);
    assert_eq!(traffic.stop(), 0, "no datagram was lost");
    let third = running_programs(&node, &one);
    assert!(first != second && second != third, "{first:?} {second:?} {third:?}");
    let traffic = node.traffic(&one);
    assert!(traffic.sent_fast.packets >= 400, "the counters, too, lived on: {traffic:?}");
    assert!(traffic.sent_stack.packets < 20, "nothing fell back to the stack: {traffic:?}");
}

#[test]
fn maps_of_another_size_are_replaced_with_their_content() {
    let (node, one, two) = node_with_two_pods();
    let sent = super::packet::packet(one.ipv4, two.ipv4).macs(two.host_mac, two.pod_mac).build();
    super::test_run::TestRun::new(Program::ToPod, two.index, sent).execute(&node);
    let flows = node.with(|fast_path| fast_path.stack_flows().unwrap());
    assert_eq!(flows.len(), 1);
    let adoption = node.load(FastPathConfig { max_stack_flows: 1_000, ..FastPathConfig::default() });
    let replaced = ReplacedMap { name: "sw_stack_flows".to_owned(), entries_kept: true };
    assert_eq!(adoption.replaced_maps, [replaced]);
    assert!(adoption.attachments_are_current);
    assert_eq!(node.with(|fast_path| fast_path.stack_flows().unwrap()), flows);
    let again = node.load(FastPathConfig { max_stack_flows: 1_000, ..FastPathConfig::default() });
    assert_eq!(again.replaced_maps, []);
    assert!(again.reused_maps.len() >= 9, "{:?}", again.reused_maps);
}

#[test]
fn a_map_of_another_layout_waits_for_the_agents_decisions() {
    let (node, one, two) = node_with_two_pods();
    let traffic = PingPong::start(&one, &two, two.ipv4.into());
    traffic.go_on_for(10);
    node.forget();
    node.namespace.run(|| {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as u64,
            ..Default::default()
        };
        let path = format!("{PIN_DIR}/maps/sw_endpoints");
        let mut other = MapHandle::create(MapType::Hash, Some("other"), 16, 4, 10, &options).unwrap();
        std::fs::remove_file(&path).unwrap();
        other.pin(&path).unwrap();
    });
    let before = running_programs(&node, &one);
    let adoption = node.load(FastPathConfig::default());
    let replaced = ReplacedMap { name: "sw_endpoints".to_owned(), entries_kept: false };
    assert_eq!(adoption.replaced_maps, [replaced]);
    assert!(!adoption.attachments_are_current);
    assert_eq!(running_programs(&node, &one), before, "the old programs run on with the old map");
    traffic.go_on_for(10);
    node.attach(&one);
    node.attach(&two);
    assert_ne!(running_programs(&node, &one), before);
    traffic.go_on_for(10);
    assert_eq!(traffic.stop(), 0);
    assert_eq!(node.with(|fast_path| fast_path.endpoints().unwrap()).len(), 4);
}

#[test]
fn attaching_twice_is_attaching_once() {
    let (node, one, _two) = node_with_two_pods();
    let attachments = node.with(|fast_path| fast_path.attachments().unwrap());
    node.attach(&one);
    assert_eq!(node.with(|fast_path| fast_path.attachments().unwrap()), attachments);
    assert_eq!(node.with(|fast_path| fast_path.links().unwrap()).len(), 2);
}

#[test]
fn a_detached_link_leaves_nothing_and_the_slow_path_carries_on() {
    let (node, one, two) = node_with_two_pods();
    let index = one.index;
    for _ in 0..2 {
        node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
        let (links, endpoints) = node.with(|fast_path| (fast_path.links().unwrap(), fast_path.endpoints().unwrap()));
        assert!(links.iter().all(|(index, _)| *index == two.index) && links.len() == 1);
        assert_eq!(endpoints.len(), 2);
        assert!(!node.counters().endpoints.contains_key(&one.id));
        let attachments = node.with(|fast_path| fast_path.attachments().unwrap());
        assert!(attachments.len() == 2 && attachments.iter().all(|attachment| attachment.interface_index == two.index));
    }
    assert!(one.pings(two.ipv4, 3));
    assert!(two.pings(one.ipv6, 3));
}

#[test]
fn a_detachment_that_was_cut_short_can_be_finished() {
    let (node, one, two) = node_with_two_pods();
    let (index, mut endpoint) = (one.index, one.endpoint());
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    endpoint.id = 99;
    let address = one.ipv4.into();
    node.with(move |fast_path| fast_path.set_endpoints(&[(address, endpoint)], &[]).unwrap());
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    let endpoints = node.with(|fast_path| fast_path.endpoints().unwrap());
    assert!(endpoints.iter().all(|(_, endpoint)| endpoint.id == two.id), "{endpoints:?}");
    // An address that another pod has taken over stays.
    node.attach(&one);
    let taken = abi::Endpoint { interface_index: two.index, id: two.id, ..two.endpoint() };
    node.with(move |fast_path| fast_path.set_endpoints(&[(address, taken)], &[]).unwrap());
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    assert!(node.with(|fast_path| fast_path.endpoints().unwrap()).contains(&(address, taken)));
}

#[test]
fn interfaces_that_have_gone_are_forgotten() {
    let (node, one, two) = node_with_two_pods();
    node.namespace.ip(&format!("link del {}", one.interface));
    let attachments = node.with(|fast_path| fast_path.attachments().unwrap());
    assert!(attachments.iter().all(|attachment| attachment.interface_index == two.index), "{attachments:?}");
    let adoption = node.load(FastPathConfig::default());
    assert_eq!(adoption.attachments, attachments);
    let index = one.index;
    node.with(move |fast_path| fast_path.detach_pod_link(index).unwrap());
    assert_eq!(node.with(|fast_path| fast_path.links().unwrap()).len(), 1);
}

#[test]
fn uninstalling_leaves_the_kernel_as_it_was() {
    let (node, one, two) = node_with_two_pods();
    let ids = running_programs(&node, &one);
    node.forget();
    for _ in 0..2 {
        node.namespace.run(|| FastPath::uninstall(Path::new(PIN_DIR)).unwrap());
        assert!(node.namespace.run(|| !Path::new(PIN_DIR).exists()));
    }
    eventually("the programs have gone", || {
        ids.iter().all(|id| libbpf_rs::query::ProgInfoIter::default().all(|program| program.id != *id))
    });
    assert!(one.pings(IpAddr::from(two.ipv4), 3), "the slow path carries on");
}

#[test]
fn pins_need_a_bpf_file_system() {
    let node = Node::new();
    let error = node.namespace.run(|| {
        let directory = std::env::temp_dir().join(format!("seaway-pins-{}", std::process::id()));
        let error = FastPath::load_or_adopt(&directory, &FastPathConfig::default()).err().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        error
    });
    assert_eq!(seaway_model::Diagnose::id(&error).to_string(), "SW0330");
}
