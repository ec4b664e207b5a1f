//! An Ethernet device whose other end is a file: what is written arrives at the node, what the node
//! sends is read. RPS is off there, so that a write returns after the frame went its way.

#![expect(unsafe_code, reason = "no crate wraps TAP devices and the options of packet sockets")]

use std::ffi::{c_char, c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// MAC of the node's end.
const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// MAC of whoever is behind the device.
const NEIGHBOR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const ETHERNET: usize = 14;
/// `PACKET_IGNORE_OUTGOING` in linux/if_packet.h.
const PACKET_IGNORE_OUTGOING: c_int = 23;

/// A device of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Device {
    /// A TAP device's file, or a packet socket at the far end of a veth pair.
    file: File,
}

#[repr(C)]
struct InterfaceRequest {
    name: [c_char; libc::IFNAMSIZ],
    flags: c_short,
    rest: [u8; 22],
}

// === impl Device ===

impl Device {
    /// Makes a device.
    pub(crate) fn new(name: &str) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .expect("the judge needs root and /dev/net/tun");
        let flags = c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).expect("flags fit");
        let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
        for (to, from) in request.name.iter_mut().zip(name.bytes()) {
            *to = c_char::try_from(from).expect("ASCII");
        }
        // SAFETY: the request has the size of `struct ifreq`, and the kernel writes inside it only.
        let result: c_int = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "making the device {name} needs root: {}", std::io::Error::last_os_error());
        Self { file }
    }

    /// Makes a veth pair whose far end is in another network namespace, as pods' links are: programs
    /// may move packets there without the host stack.
    pub(crate) fn with_far_end(name: &str) -> Self {
        let (ready, is_ready) = channel();
        let (go, may_go) = channel();
        let far = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace needs root");
            ready.send(gettid()).expect("somebody waits");
            may_go.recv().expect("the link is made");
            ip(&[format!("link set eth0 addrgenmode none address {} up", Self::neighbor_mac())]);
            packet_socket(if_nametoindex("eth0").expect("the far end"))
        });
        let thread = is_ready.recv().expect("the far namespace");
        let path = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        ip(&[format!("link add {name} type veth peer name eth0 netns {path}")]);
        go.send(()).expect("somebody waits");
        Self { file: far.join().expect("the far end") }
    }

    /// MAC of the node's end.
    pub(crate) const NODE_MAC: [u8; 6] = NODE_MAC;
    /// MAC of whoever is behind the device.
    pub(crate) const NEIGHBOR_MAC: [u8; 6] = NEIGHBOR_MAC;

    /// MAC of the node's end, as `ip` takes it.
    pub(crate) fn node_mac() -> String {
        text(NODE_MAC)
    }

    /// MAC of the neighbor behind it, as `ip` takes it.
    pub(crate) fn neighbor_mac() -> String {
        text(NEIGHBOR_MAC)
    }

    /// Lets an IP packet arrive at the node.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let kind: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let frame = [NODE_MAC.as_slice(), &NEIGHBOR_MAC, &kind, packet].concat();
        let written = self.file.write(&frame).expect("writing a frame");
        assert_eq!(written, frame.len());
    }

    /// An IP packet that the node sent; none when there is none now.
    pub(crate) fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        match self.file.read(buffer) {
            Ok(length) => buffer.get(ETHERNET..length),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("reading a frame: {error}"),
        }
    }
}

/// A socket for all frames that arrive at an interface, and for sending there.
fn packet_socket(index: u32) -> File {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let all = u16::try_from(libc::ETH_P_ALL).expect("a protocol").to_be();
    // SAFETY: the call takes numbers only.
    let number = unsafe { libc::socket(libc::AF_PACKET, kind, all.into()) };
    assert!(number >= 0, "packet sockets need root: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel just gave us this descriptor.
    let file = unsafe { File::from_raw_fd(number) };
    // SAFETY: all-zero is a valid `sockaddr_ll`.
    let mut place: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    place.sll_family = u16::try_from(libc::AF_PACKET).expect("a family");
    place.sll_protocol = all;
    place.sll_ifindex = i32::try_from(index).expect("an index");
    let length = u32::try_from(size_of_val(&place)).expect("a size");
    // SAFETY: the address lives during the call and has the length that is told.
    let bound = unsafe { libc::bind(number, (&raw const place).cast(), length) };
    assert_eq!(bound, 0, "binding a packet socket: {}", std::io::Error::last_os_error());
    let on: c_int = 1;
    let length = u32::try_from(size_of_val(&on)).expect("a size");
    // SAFETY: the value lives during the call and has the length that is told.
    let set =
        unsafe { libc::setsockopt(number, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, (&raw const on).cast(), length) };
    assert_eq!(set, 0, "leaving out own frames: {}", std::io::Error::last_os_error());
    file
}

/// Runs ip(8) with these lines in the calling thread's network namespace.
pub(super) fn ip(lines: &[String]) {
    let mut program =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip(8) of iproute2");
    let mut input = program.stdin.take().expect("its input");
    input.write_all(lines.join("\n").as_bytes()).expect("writing to ip");
    drop(input);
    assert!(program.wait().expect("ip ends").success(), "ip -batch: {lines:#?}");
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
