//! Traffic between pods that notices every lost packet. Its ends are threads in
//! the pods' network namespaces, so the packets take the pods' way.
//!
//! UDP: numbered datagrams at a fixed rate; each must arrive, and once. TCP: one
//! connection with a small exchange at a fixed rate, and the kernel's own count
//! of segments sent again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

use super::lab::{Lab, wait_until};

/// Between two datagrams, or two exchanges, of one flow.
const PACE: Duration = Duration::from_millis(4);
/// Traffic ends after this time even if nobody stops it.
const LONGEST: Duration = Duration::from_secs(180);
/// A datagram not here this long after the last one was sent is lost.
const STRAGGLERS: Duration = Duration::from_secs(3);
/// An exchange over TCP that takes longer is a broken connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room for what arrives while this machine is busy with something else.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
/// What goes there and back over TCP.
const EXCHANGE_BYTES: usize = 1000;

/// A pod's network.
#[derive(Debug, Clone)]
pub(crate) struct PodNetwork {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    process: u32,
}

/// Flows that run until stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    flows: Vec<(String, Arc<AtomicU64>, JoinHandle<Tally>)>,
    /// The pods, and how many segments each of their kernels had sent again before.
    pods: Vec<(PodNetwork, u64)>,
}

/// What became of one flow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Datagrams or exchanges.
    pub(crate) sent: u64,
    /// Of those, the ones that did not arrive, or did twice.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Longest time between two arrivals.
    pub(crate) longest_pause: Duration,
}

// === impl PodNetwork ===

impl PodNetwork {
    /// The network of a pod in the namespace `default`.
    pub(crate) fn of(lab: &Lab, name: &str) -> Self {
        let pod = lab.kubectl_json(&["get", "pod", name]);
        let addresses = super::ledger::addresses_of(&pod);
        let uid = pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap();
        let process = process_of_pod(uid).unwrap_or_else(|| panic!("no process of pod {name} runs"));
        Self { name: name.to_owned(), addresses, process }
    }

    /// TCP segments that were sent again, in all of the pod's time.
    fn segments_sent_again(&self) -> u64 {
        self.run(segments_sent_again).join().unwrap()
    }

    /// Runs `work` on a thread in the pod's network namespace; programs it spawns are there, too.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.process)).unwrap();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("the pod's network namespace can be entered");
            work()
        })
    }
}

/// A process of the pod: its cgroup bears the pod's uid.
fn process_of_pod(uid: &str) -> Option<u32> {
    let mark = format!("/pod{uid}/");
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        groups.contains(&mark).then_some(pid)
    })
}

// === impl Traffic ===

impl Traffic {
    /// UDP and TCP over each family from the first pod to each of the others.
    pub(crate) fn start(from: &PodNetwork, others: &[&PodNetwork]) -> Self {
        let pods = [&[from], others].concat();
        let pods = pods.into_iter().map(|pod| (pod.clone(), pod.segments_sent_again())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut flows = Vec::new();
        for to in others {
            for address in to.addresses.clone() {
                for (protocol, start) in [("UDP", start_udp as StartFlow), ("TCP", start_tcp as StartFlow)] {
                    let arrived = Arc::new(AtomicU64::new(0));
                    let handle = start(from, to, address, stop.clone(), arrived.clone());
                    flows.push((format!("{protocol} {} to {} at {address}", from.name, to.name), arrived, handle));
                }
            }
        }
        let traffic = Self { stop, flows, pods };
        traffic.goes_on();
        traffic
    }

    /// Waits until another 50 datagrams or exchanges of each flow arrived.
    pub(crate) fn goes_on(&self) {
        let counts: Vec<u64> = self.flows.iter().map(|(_, arrived, _)| arrived.load(Ordering::Relaxed)).collect();
        for ((name, arrived, _), count) in self.flows.iter().zip(counts) {
            wait_until(&format!("{name} goes on"), || arrived.load(Ordering::Relaxed) >= count + 50);
        }
    }

    /// Stops, prints what was seen, and fails if any packet was lost.
    pub(crate) fn must_be_whole(self) {
        self.stop.store(true, Ordering::Relaxed);
        let tallies: Vec<(String, Tally)> =
            self.flows.into_iter().map(|(name, _, handle)| (name, handle.join().unwrap())).collect();
        for (name, tally) in &tallies {
            println!(
                "  {name}: {} sent, {} lost, {} doubled, longest pause {:.0} ms",
                tally.sent,
                tally.lost,
                tally.doubled,
                tally.longest_pause.as_secs_f64() * 1000.0
            );
        }
        for (name, tally) in &tallies {
            assert!(tally.lost == 0 && tally.doubled == 0, "{name}: {tally:?}");
        }
        for (pod, before) in &self.pods {
            assert_eq!(pod.segments_sent_again(), *before, "TCP segments of {} sent again", pod.name);
        }
    }
}

type StartFlow = fn(&PodNetwork, &PodNetwork, IpAddr, Arc<AtomicBool>, Arc<AtomicU64>) -> JoinHandle<Tally>;

fn start_udp(
    from: &PodNetwork,
    to: &PodNetwork,
    address: IpAddr,
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
) -> JoinHandle<Tally> {
    let receiver = to.run(move || UdpSocket::bind((address, 0)).unwrap()).join().unwrap();
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
    let target = receiver.local_addr().unwrap();
    let sent_in_all = Arc::new(AtomicU64::new(u64::MAX));
    let announced = sent_in_all.clone();
    from.run(move || {
        let socket = UdpSocket::bind(unspecified(target)).unwrap();
        socket.connect(target).unwrap();
        let start = Instant::now();
        let mut number = 0u64;
        while !stop.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
            socket.send(&number.to_be_bytes()).unwrap();
            number += 1;
            std::thread::sleep(PACE);
        }
        announced.store(number, Ordering::Release);
    });
    std::thread::spawn(move || receive(&receiver, &sent_in_all, &arrived))
}

fn receive(socket: &UdpSocket, sent_in_all: &AtomicU64, arrived: &AtomicU64) -> Tally {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut tally = Tally::default();
    let mut seen = BTreeSet::new();
    let mut last = Instant::now();
    let mut buffer = [0u8; 8];
    loop {
        if socket.recv(&mut buffer).is_ok() {
            if !seen.insert(u64::from_be_bytes(buffer)) {
                tally.doubled += 1;
            }
            tally.longest_pause = tally.longest_pause.max(last.elapsed());
            last = Instant::now();
            arrived.store(seen.len() as u64, Ordering::Relaxed);
        }
        let sent = sent_in_all.load(Ordering::Acquire);
        if sent != u64::MAX && (seen.len() as u64 >= sent || last.elapsed() > STRAGGLERS) {
            return Tally { sent, lost: sent - seen.len() as u64, ..tally };
        }
    }
}

fn start_tcp(
    from: &PodNetwork,
    to: &PodNetwork,
    address: IpAddr,
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
) -> JoinHandle<Tally> {
    let listener = to.run(move || TcpListener::bind((address, 0)).unwrap()).join().unwrap();
    let target = listener.local_addr().unwrap();
    let echo = to.run(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = [0u8; EXCHANGE_BYTES];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer).unwrap();
        }
    });
    from.run(move || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tally = Tally::default();
        let (mut buffer, start) = ([0u8; EXCHANGE_BYTES], Instant::now());
        while !stop.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
            let begin = Instant::now();
            stream.write_all(&[7; EXCHANGE_BYTES]).expect("the connection holds");
            stream.read_exact(&mut buffer).expect("the connection holds");
            tally.longest_pause = tally.longest_pause.max(begin.elapsed());
            tally.sent += 1;
            arrived.store(tally.sent, Ordering::Relaxed);
            std::thread::sleep(PACE);
        }
        drop(stream);
        echo.join().unwrap();
        tally
    })
}

fn unspecified(target: SocketAddr) -> SocketAddr {
    match target {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// `RetransSegs` of the network namespace of this thread.
fn segments_sent_again() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "RetransSegs").unwrap().1.parse().unwrap()
}
