//! Connections and datagrams between namespaces, each bounded in time.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, sendto, socket};

use crate::kernel::bpf::tests::namespaces::Namespace;

/// No packet here takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes sent each way: more than one segment of any MTU here.
const EXCHANGED_BYTES: usize = 100_000;

/// Opens a TCP connection, sends bytes both ways, and returns the client's address as the
/// server saw it.
pub(super) fn exchange(client: &Namespace, server: &Namespace, address: IpAddr) -> Result<IpAddr, String> {
    let listener = server.run(move || TcpListener::bind((address, 0)).unwrap());
    let target: SocketAddr = listener.local_addr().unwrap();
    let serving = server.start(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = vec![0; EXCHANGED_BYTES];
        stream.read_exact(&mut received).and_then(|()| stream.write_all(&received)).map(|()| from.ip())
    });
    let outcome = client.run(move || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sent: Vec<u8> = (0..EXCHANGED_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
        stream.write_all(&sent)?;
        let mut received = vec![0; EXCHANGED_BYTES];
        stream.read_exact(&mut received)?;
        assert_eq!(sent, received);
        std::io::Result::Ok(())
    });
    if let Err(error) = outcome {
        // The server waits for a client in vain: give it one that says nothing.
        let _ = server.run(move || TcpStream::connect_timeout(&target, PATIENCE).map(drop));
        let _ = serving.join();
        return Err(format!("{target}: {error}"));
    }
    serving.join().map_err(|error| error.to_string())
}

/// A UDP socket inside a namespace.
pub(super) fn udp(namespace: &Namespace, address: IpAddr) -> UdpSocket {
    namespace.run(move || {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    })
}

/// Receives a datagram. A socket with a time limit is interrupted by whatever stirs the
/// thread (signal(7)), so it is asked again.
pub(super) fn receive(socket: &UdpSocket) -> std::io::Result<usize> {
    let mut buffer = vec![0; 2000];
    loop {
        match socket.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Sends a frame as it is.
pub(super) fn send_frame(namespace: &Namespace, interface: &str, frame: Vec<u8>) {
    let index = namespace.index(interface);
    namespace.run(move || {
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
        let mut address: libc::sockaddr_ll = bytemuck_zeroed();
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        address.sll_ifindex = i32::try_from(index).unwrap();
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
        #[expect(unsafe_code, reason = "nix makes no link-layer address from an index")]
        // SAFETY: the pointer is to a live `sockaddr_ll` of the length given.
        let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)).unwrap() };
        sendto(raw.as_raw_fd(), &frame, &address, MsgFlags::empty()).unwrap();
    });
}

fn bytemuck_zeroed() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
