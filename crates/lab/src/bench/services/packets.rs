//! What a packet costs in the programs of the pods' links: the kernel runs the attached ones on
//! frames of our own making (`BPF_PROG_TEST_RUN`), with all Services in the maps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::content::frontend;
use crate::bench::error::BenchError;
use crate::bench::pods::LOAD_PORT;
use crate::error::{IoContext, Result};
use crate::machine::Node;

/// Runs of each frame; the median counts. Each is a call of its own, because within one the kernel
/// hands the program the frame that its last run left. So a run meets colder caches than a stream.
const RUNS: usize = 301;
/// Where `ifindex` is in `struct __sk_buff`, and how large that is (linux/bpf.h).
const CONTEXT_INTERFACE_INDEX: usize = 40;
const CONTEXT_BYTES: usize = 192;
/// Files of the node.
const FRAME: &str = "/tmp/frame";
const LEFT: &str = "/tmp/left";
const CONTEXT: &str = "/tmp/context";
const CLIENT_PORT: u16 = 45_000;
const SYNCHRONIZE: u8 = 0x02;
const ACKNOWLEDGE: u8 = 0x10;
/// Where source and destination are in a frame, and how long each is.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const ADDRESS_BYTES: usize = 4;

/// The node's end of a pod's link.
struct Link {
    index: u32,
    host_mac: Vec<u8>,
    pod_mac: Vec<u8>,
    address: Ipv4Addr,
    /// The program that packets of the pod meet.
    program: u64,
}

/// What packets of each kind cost.
pub(super) struct Costs {
    /// What it is, nanoseconds.
    pub(super) nanos: Vec<(&'static str, f64)>,
    /// Instructions of the program as the kernel holds it.
    pub(super) program_instructions: f64,
}

/// Measures between a client and the backend of the first Service.
pub(super) fn measure(node: &Node, client: IpAddr, backend: IpAddr) -> Result<Costs> {
    let (client, backend) = (Link::of(node, client)?, Link::of(node, backend)?);
    let pod = |link: &Link, port| SocketAddr::new(link.address.into(), port);
    let (from, to, service) = (pod(&client, CLIENT_PORT), pod(&backend, LOAD_PORT), frontend(0));
    let other = pod(&client, CLIENT_PORT + 1);
    // The connection is made by its first packet.
    client.run(node, &client.frame(from, service, SYNCHRONIZE), 1, DESTINATION, backend.address)?;
    let kinds = [
        ("pod to pod, no Service", &client, other, to, DESTINATION, backend.address),
        ("pod to Service, connection known", &client, from, service, DESTINATION, backend.address),
        ("backend's reply, translated back", &backend, to, from, SOURCE, ipv4(service)),
    ];
    let mut nanos = Vec::new();
    for (what, link, source, destination, changed, address) in kinds {
        let frame = link.frame(source, destination, ACKNOWLEDGE);
        nanos.push((what, link.run(node, &frame, RUNS, changed, address)?));
    }
    let show = run(node, &["bpftool", "-j", "prog", "show", "id", &client.program.to_string()])?;
    let bytes = show.get("bytes_xlated").and_then(Value::as_f64).unwrap_or_default();
    // Eight bytes each.
    Ok(Costs { nanos, program_instructions: bytes / 8.0 })
}

// === impl Link ===

impl Link {
    fn of(node: &Node, address: IpAddr) -> Result<Self> {
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let route = first(run(node, &["ip", "-j", "route", "get", &address.to_string()])?);
        let device = text(&route, "dev");
        let link = first(run(node, &["ip", "-j", "link", "show", "dev", &device])?);
        let neighbor = first(run(node, &["ip", "-j", "-4", "neigh", "show", "dev", &device])?);
        let net = first(run(node, &["bpftool", "-j", "net", "show", "dev", &device])?);
        let programs = net.get("tc").and_then(Value::as_array).cloned().unwrap_or_default();
        let ingress = programs.iter().find(|program| text(program, "kind").ends_with("ingress"));
        let unknown = || BenchError::Program {
            program: format!("bpftool net show dev {device}"),
            reason: format!("no program of Seaway takes packets from {address}"),
        };
        let program = ingress.and_then(|program| program.get("id")?.as_u64()).ok_or_else(unknown)?;
        let IpAddr::V4(address) = address else { return Err(unknown().into()) };
        Ok(Self {
            index: link
                .get("ifindex")
                .and_then(Value::as_u64)
                .and_then(|index| index.try_into().ok())
                .unwrap_or_default(),
            host_mac: mac(&text(&link, "address")),
            pod_mac: mac(&text(&neighbor, "lladdr")),
            address,
            program,
        })
    }

    /// A TCP segment without content, as the pod sends it.
    fn frame(&self, source: SocketAddr, destination: SocketAddr, flags: u8) -> Vec<u8> {
        let mut frame = [self.host_mac.as_slice(), self.pod_mac.as_slice(), &[0x08, 0x00]].concat();
        frame.extend(ipv4_header(source, destination));
        frame.extend([source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
        frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame
    }

    /// Nanoseconds of one run, which must leave this address at that place of the frame.
    fn run(&self, node: &Node, frame: &[u8], runs: usize, place: usize, address: Ipv4Addr) -> Result<f64> {
        let mut context = [0u8; CONTEXT_BYTES];
        let index = self.index.to_ne_bytes();
        if let Some(field) = context.get_mut(CONTEXT_INTERFACE_INDEX..CONTEXT_INTERFACE_INDEX + index.len()) {
            field.copy_from_slice(&index);
        }
        for (path, bytes) in [(FRAME, frame), (CONTEXT, &context)] {
            let path = node.path(path);
            std::fs::write(&path, bytes).on_file("write", &path)?;
        }
        let script = format!(
            "for run in $(seq {runs}); do bpftool -j prog run id {} data_in {FRAME} data_out {LEFT} ctx_in {CONTEXT} \
             || exit 1; echo; done",
            self.program
        );
        let lines = output(node, &["sh", "-c", &script])?;
        let seen = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut nanos: Vec<f64> = seen.filter_map(|seen| seen.get("duration")?.as_f64()).collect();
        nanos.sort_by(f64::total_cmp);
        let path = node.path(LEFT);
        let left = std::fs::read(&path).on_file("read", &path)?;
        if left.get(place..place + ADDRESS_BYTES) != Some(address.octets().as_slice()) {
            let reason = format!("the frame it left has no {address} at byte {place}: {left:02x?}");
            return Err(BenchError::Program { program: "bpftool prog run".into(), reason }.into());
        }
        Ok(nanos.get(nanos.len() / 2).copied().unwrap_or_default())
    }
}

fn ipv4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn ipv4_header(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    for address in [source.ip(), destination.ip()] {
        if let IpAddr::V4(address) = address {
            header.extend(address.octets());
        }
    }
    let words = header.chunks(2).map(|pair| pair.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default();
    // Bytes 10 and 11 (RFC 791 §3.1), which are zero so far.
    header.splice(10..12, checksum.to_be_bytes());
    header
}

fn mac(text: &str) -> Vec<u8> {
    text.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

fn first(list: Value) -> Value {
    list.get(0).cloned().unwrap_or_default()
}

fn run(node: &Node, argv: &[&str]) -> Result<Value> {
    let failed = |error: serde_json::Error| BenchError::Program { program: argv.join(" "), reason: error.to_string() };
    serde_json::from_slice(&output(node, argv)?).map_err(|error| failed(error).into())
}

fn output(node: &Node, argv: &[&str]) -> Result<Vec<u8>> {
    let output = node.exec(argv)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = [output.stderr, output.stdout].concat();
    let reason = String::from_utf8_lossy(&text).into_owned();
    Err(BenchError::Program { program: argv.join(" "), reason }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_s_checksum_makes_its_words_sum_to_all_ones() {
        let header = ipv4_header("10.1.2.3:1".parse().unwrap(), "10.96.1.0:80".parse().unwrap());
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(header.len(), 20);
    }
}
