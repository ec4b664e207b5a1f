//! The machine layer on a real kernel: nodes, wire, faults, and nothing left.
//!
//! Needs root, and says so. The test program has its own `main`, because the
//! lab starts its own program again as the init process of each node.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use seaway_lab::cli::LabArgs;
use seaway_lab::machine::footprint::Footprint;
use seaway_lab::machine::{Breakage, Fault, LabDir, Machine, Node, ProgramSpec};
use seaway_lab::spec::Families;
use seaway_lab::{LabError, LabSpec};

/// Time the kernel has to give back what was used.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time a program of the lab has for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(10);

/// Packets sent where some are lost: with 60, all or none come through less than once in ten million runs.
const TRIES: usize = 60;

#[derive(Parser)]
enum Program {
    Lab(LabArgs),
}

/// A lab that is removed when the test ends, however it ends.
struct Lab {
    machine: Machine,
    dir: LabDir,
}

type Test = (&'static str, fn());

const TESTS: [Test; 7] = [
    ("a_machine_comes_and_goes_without_trace", a_machine_comes_and_goes_without_trace),
    ("ten_nodes_of_one_family_reach_each_other", ten_nodes_of_one_family_reach_each_other),
    ("faults_break_and_heal", faults_break_and_heal),
    ("labs_side_by_side_do_not_meet", labs_side_by_side_do_not_meet),
    ("programs_are_supervised", programs_are_supervised),
    ("a_power_cycled_node_keeps_its_disk", a_power_cycled_node_keeps_its_disk),
    ("names_are_taken_once_and_ruins_are_cleared", names_are_taken_once_and_ruins_are_cleared),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "lab") {
        let Program::Lab(lab) = Program::parse();
        return lab.run();
    }
    let words: Vec<&String> = arguments.iter().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, test) in TESTS {
        if arguments.iter().any(|word| word == "--list") {
            println!("{name}: test");
        } else if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            let start = Instant::now();
            println!("test {name} ...");
            test();
            println!("test {name} ... ok ({:.2} s)", start.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}

fn a_machine_comes_and_goes_without_trace() {
    let name = "test-trace";
    Machine::destroy(&LabDir::new(name)).expect("nothing of an earlier run stays");
    let before = Footprint::take(name).unwrap();
    let start = Instant::now();
    let mut lab = Lab::create(name, 3, 2);
    println!("  3 nodes in {:.3} s", start.elapsed().as_secs_f64());
    for from in lab.machine.nodes().iter().chain([lab.machine.outside()]) {
        for to in lab.machine.nodes() {
            for address in to.addresses() {
                assert!(pings(from, address), "{} does not reach {} at {address}", from.name(), to.name());
            }
        }
    }
    assert!(!Footprint::take(name).unwrap().differences(&before).is_empty(), "a running lab leaves a trace");
    let init = lab.machine.node("n2").unwrap().init().unwrap();
    init.signal(rustix::process::Signal::KILL).unwrap();
    until("n2 is off", || lab.machine.node("n2").unwrap().init().is_err());
    assert!(matches!(lab.machine.node("n2").unwrap().exec(&["true"]), Err(LabError::NodeDown { .. })));
    lab.machine.unlock();
    let start = Instant::now();
    Machine::destroy(&lab.dir).unwrap();
    println!("  down in {:.3} s", start.elapsed().as_secs_f64());
    let left = Footprint::lasting_differences(&before, name, PATIENCE).unwrap();
    assert!(left.is_empty(), "the lab left traces:\n{}", left.join("\n"));
    Machine::destroy(&lab.dir).expect("removing what is gone is no error");
}

fn ten_nodes_of_one_family_reach_each_other() {
    for families in [Families::Ipv4, Families::Ipv6] {
        let spec = LabSpec { nodes: 10, racks: 3, families, link_mtu_bytes: 9000, ..LabSpec::default() };
        let start = Instant::now();
        let lab = Lab::of(LabSpec { name: "test-ten".into(), ..spec });
        println!("  10 nodes in {:.3} s", start.elapsed().as_secs_f64());
        let last = lab.machine.node("n10").unwrap().addresses();
        assert_eq!(last.len(), 1);
        let first = lab.machine.node("n1").unwrap();
        assert!(pings_with(first, last[0], &["-s", "8900"]), "n1 does not reach n10 at {}", last[0]);
        // A plain connection crosses the router as well.
        let listener =
            lab.machine.node("n10").unwrap().run_in(|| std::net::TcpListener::bind((last[0], 0))).unwrap().unwrap();
        first.dial(listener.local_addr().unwrap()).unwrap();
    }
}

fn faults_break_and_heal() {
    let mut lab = Lab::create("test-faults", 3, 2);
    let [first, second, third] = ["n1", "n2", "n3"].map(|name| lab.machine.node(name).unwrap().clone());
    let [near, far] = [&second, &third].map(|node| node.addresses());
    let all = |addresses: &[IpAddr]| addresses.iter().all(|address| pings(&first, *address));
    let none = |addresses: &[IpAddr]| !addresses.iter().any(|address| pings(&first, *address));
    assert!(all(&near) && all(&far));

    lab.break_down(Fault::Partition { rack: "r2".into() });
    assert!(all(&near) && none(&far), "only the other rack is cut off");
    lab.break_down(Fault::Link { node: "n2".into() });
    assert!(none(&near));
    assert_eq!(lab.machine.faults().unwrap().len(), 2);
    assert!(matches!(lab.machine.heal(&["mtu".into()]), Err(LabError::NotBroken { .. })));
    lab.heal("link n2");
    assert!(all(&near) && none(&far));
    lab.heal("");
    assert!(all(&far) && lab.machine.faults().unwrap().is_empty());

    lab.break_down(Fault::Mtu { node: "n2".into(), bytes: 1300 });
    assert!(pings_with(&first, near[0], &["-s", "1200"]) && !pings_with(&first, near[0], &["-s", "1400"]));
    lab.break_down(Fault::Loss { node: "n3".into(), percent: 100.0 });
    assert!(none(&far));
    lab.heal("");
    assert!(all(&far) && pings_with(&first, near[0], &["-s", "1400"]));

    // Lost on both ways: one of four comes back.
    lab.break_down(Fault::Loss { node: "n3".into(), percent: 50.0 });
    let answered = answers(&first, far[0]);
    assert!(answered > 0 && answered < TRIES, "{answered} of {TRIES}");
    lab.heal("loss n3");
    assert_eq!(answers(&first, far[0]), TRIES);
    let unknown = lab.machine.break_down(&Fault::Link { node: "n9".into() }.into()).unwrap_err();
    assert!(unknown.to_string().contains("n1, n2, n3, outside"), "{unknown}");
}

/// The same ranges and node names twice: a fault in one, and its end, is nothing to the other.
fn labs_side_by_side_do_not_meet() {
    let mut one = Lab::create("test-side-one", 2, 1);
    let other = Lab::create("test-side-other", 2, 1);
    let [broken, whole] = [&one, &other].map(|lab| lab.machine.node("n1").unwrap().clone());
    let target = one.machine.node("n2").unwrap().addresses()[0];
    assert_eq!(other.machine.node("n2").unwrap().addresses()[0], target);
    one.break_down(Fault::Link { node: "n2".into() });
    assert!(!pings(&broken, target) && pings(&whole, target));
    drop(one);
    assert!(pings(&whole, target));
    assert!(other.dir.exists() && !LabDir::new("test-side-one").exists());
}

fn programs_are_supervised() {
    let mut lab = Lab::create("test-programs", 1, 1);
    let node = lab.machine.node("n1").unwrap().clone();
    let missing = node.start(program("absent", &["/no/such/program"], false)).unwrap_err();
    assert!(missing.to_string().contains("/no/such/program"), "{missing}");

    node.start(program("brief", &["sh", "-c", "echo last words; exit 3"], false)).unwrap();
    until("brief ended", || node.program("brief").unwrap().pid.is_none());
    let status = node.program("brief").unwrap();
    assert_eq!(
        (status.last_exit.as_deref(), status.last_lines),
        (Some("exit status 3"), vec!["last words".to_owned()])
    );

    node.start(ProgramSpec { cgroup: Some("/system/lasting".into()), ..program("lasting", &["sleep", "1000"], true) })
        .unwrap();
    let pid = node.program("lasting").unwrap().pid.unwrap().to_string();
    let shown = |file: &str| {
        let output = node.exec(&["cat", &format!("/proc/{pid}/{file}")]).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    until("lasting is what it was to become", || shown("comm") == "sleep\n");
    assert!(shown("cgroup").lines().all(|line| line.ends_with(":/system/lasting")), "{}", shown("cgroup"));
    lab.break_down(Breakage::Kill { node: "n1".into(), program: "sleep".into() });
    until("lasting runs again", || {
        let status = node.program("lasting").unwrap();
        let comm = || std::fs::read_to_string(node.path(format!("/proc/{}/comm", status.pid.unwrap_or(0))));
        status.starts == 2 && comm().is_ok_and(|comm| comm == "sleep\n")
    });
    lab.break_down(Fault::Freeze { node: "n1".into(), program: "sleep".into(), processes: Vec::new() });
    let state = || {
        let pid = node.program("lasting").unwrap().pid.unwrap();
        let text = std::fs::read_to_string(node.path(format!("/proc/{pid}/stat"))).unwrap();
        text.rsplit_once(')').unwrap().1.trim_start().chars().next().unwrap()
    };
    until("lasting is frozen", || state() == 'T');
    lab.heal("freeze n1 sleep");
    until("lasting sleeps again", || state() == 'S');
    node.stop("lasting").unwrap();
    assert_eq!(node.program("lasting").unwrap().pid, None);

    let exit = node.exec(&["sh", "-c", "hostname; exit 7"]).unwrap();
    assert_eq!((exit.status.code(), exit.stdout.as_slice()), (Some(7), b"n1\n".as_slice()));
}

fn a_power_cycled_node_keeps_its_disk() {
    let mut lab = Lab::create("test-power", 2, 1);
    let node = lab.machine.node("n1").unwrap().clone();
    node.start(program("lasting", &["sleep", "1000"], true)).unwrap();
    assert!(
        node.exec(&["sh", "-c", "echo kept > /var/lib/kubelet/file; echo lost > /run/file"]).unwrap().status.success()
    );
    assert_eq!(std::fs::read_to_string(node.path("/var/lib/kubelet/file")).unwrap(), "kept\n");
    lab.break_down(Fault::Loss { node: "n1".into(), percent: 0.0 });
    lab.break_down(Fault::Power { node: "n1".into() });
    assert!(lab.machine.node("n1").unwrap().init().is_err());
    lab.heal("power n1");
    lab.break_down(Breakage::PowerCycle { node: "n1".into() });
    let node = lab.machine.node("n1").unwrap().clone();
    assert!(node.exec(&["test", "-e", "/var/lib/kubelet/file"]).unwrap().status.success());
    assert!(!node.exec(&["test", "-e", "/run/file"]).unwrap().status.success());
    until("lasting came back", || node.program("lasting").is_ok_and(|status| status.pid.is_some()));
    for address in lab.machine.node("n2").unwrap().addresses() {
        assert!(pings(&node, address));
    }
}

fn names_are_taken_once_and_ruins_are_cleared() {
    let mut lab = Lab::create("test-names", 1, 1);
    let spec = lab.machine.spec().clone();
    let dir = lab.dir.clone();
    assert!(matches!(Machine::create(&spec, &dir), Err(LabError::Busy { .. })));
    assert!(matches!(Machine::destroy(&dir), Err(LabError::Busy { .. })));
    lab.machine.set_complete().unwrap();
    lab.machine.unlock();
    assert!(matches!(Machine::create(&spec, &dir), Err(LabError::AlreadyUp { .. })));
    // A lab whose processes are gone is a ruin: the next one is built on it.
    let old = Machine::open(&dir).unwrap();
    let init = old.node("n1").unwrap().init().unwrap();
    for name in ["n1", "outside", "wire"] {
        old.inside(name).unwrap().init().unwrap().signal(rustix::process::Signal::KILL).unwrap();
    }
    until("all are dead", || !init.alive() && !old.inside("wire").unwrap().init().is_ok_and(|init| init.alive()));
    let machine = Machine::create(&spec, &dir).unwrap();
    assert_ne!(machine.node("n1").unwrap().init().unwrap(), init);
    drop(machine);
    Machine::destroy(&dir).unwrap();
    assert!(!dir.exists());
}

// === impl Lab ===

impl Lab {
    fn create(name: &str, nodes: u32, racks: u32) -> Self {
        Self::of(LabSpec { name: name.into(), nodes, racks, ..LabSpec::default() })
    }

    fn of(spec: LabSpec) -> Self {
        let dir = LabDir::new(&spec.name);
        let machine = Machine::create(&spec, &dir).unwrap_or_else(|error| panic!("{error}: {:?}", error));
        Self { machine, dir }
    }

    fn break_down(&mut self, what: impl Into<Breakage>) {
        let what = what.into();
        self.machine.break_down(&what).unwrap();
    }

    fn heal(&mut self, words: &str) {
        let words: Vec<String> = words.split_ascii_whitespace().map(str::to_owned).collect();
        self.machine.heal(&words).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.machine.unlock();
        if let Err(error) = Machine::destroy(&self.dir) {
            eprintln!("cannot remove lab {}: {error}", self.dir.name());
        }
    }
}

fn program(name: &str, argv: &[&str], restart: bool) -> ProgramSpec {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    ProgramSpec { name: name.into(), argv, restart, ..ProgramSpec::default() }
}

fn pings(from: &Node, to: IpAddr) -> bool {
    pings_with(from, to, &[])
}

fn pings_with(from: &Node, to: IpAddr, options: &[&str]) -> bool {
    let address = to.to_string();
    let mut argv = vec!["ping", "-n", "-q", "-c", "1", "-W", "1", "-M", "do"];
    argv.extend(options);
    argv.push(&address);
    from.exec(&argv).unwrap().status.success()
}

/// How many of [`TRIES`] packets are answered.
fn answers(from: &Node, to: IpAddr) -> usize {
    let argv = ["ping", "-n", "-c", &TRIES.to_string(), "-i", "0.01", "-W", "1", &to.to_string()];
    let output = from.exec(&argv).unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(" bytes from ")).count()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < give_up, "not within {} s: {what}", SOON.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
