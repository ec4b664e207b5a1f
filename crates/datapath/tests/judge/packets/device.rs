//! An Ethernet device whose other end is a file: what is written arrives at the node, what the node
//! sends is read. RPS is off there, so that a write returns after the frame went its way.

#![expect(unsafe_code, reason = "no crate wraps the ioctl that makes a TAP device")]

use std::ffi::{c_char, c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// MAC of the node's end.
const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// MAC of whoever is behind the device.
const NEIGHBOR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const ETHERNET: usize = 14;

/// A TAP device of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Device {
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

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
