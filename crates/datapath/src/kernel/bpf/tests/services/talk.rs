//! Conversations over real sockets: servers that say whom they see, clients that compare.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::namespaces::Namespace;
use super::super::traffic::PATIENCE;

/// Bytes in which a server says whom it sees.
const SAID_BYTES: usize = 100;

/// Who a server sees, and who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// What is dropped did not arrive within this time.
pub(super) const SILENCE: Duration = Duration::from_millis(300);

/// Starts a TCP and a UDP server that say whom they see, then give back what they get.
pub(super) fn serve(namespace: &Namespace, address: SocketAddr) {
    let (listener, socket) =
        namespace.run(move || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
    // Both end with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || give_back(stream, address));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let seen = said(client, address);
            let _ = socket.send_to(&[seen.as_bytes(), &buffer[..length]].concat(), client);
        }
    });
}

fn said(client: SocketAddr, own: SocketAddr) -> String {
    format!("{:<100}", format!("{client} {own}"))
}

fn heard(said: &[u8]) -> Seen {
    let said = std::str::from_utf8(said).unwrap().trim();
    let (client, server) = said.split_once(' ').unwrap();
    Seen { client: client.parse().unwrap(), server: server.parse().unwrap() }
}

fn give_back(mut stream: TcpStream, own: SocketAddr) {
    let Ok(seen) = stream.peer_addr() else { return };
    let _ = stream.write_all(said(seen, own).as_bytes());
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Talks over TCP: sends bytes, compares what comes back. Returns what the server said.
pub(super) fn tcp(client: &Namespace, target: SocketAddr, bytes: usize) -> Result<Seen, std::io::ErrorKind> {
    client.run(move || tcp_here(target, bytes).map_err(|error| error.kind()))
}

fn tcp_here(target: SocketAddr, bytes: usize) -> std::io::Result<Seen> {
    let mut stream = TcpStream::connect_timeout(&target, SILENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = [0; SAID_BYTES];
    stream.read_exact(&mut seen)?;
    let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (mut received, mut writer, to_send) = (vec![0; bytes], stream.try_clone()?, sent.clone());
    let writing = std::thread::spawn(move || writer.write_all(&to_send));
    stream.read_exact(&mut received)?;
    writing.join().unwrap()?;
    assert!(received == sent, "what came back differs from what was sent");
    Ok(heard(&seen))
}

/// Talks over UDP, one datagram each way. Returns what the server said; none: no answer.
pub(super) fn udp(client: &Namespace, target: SocketAddr, bytes: usize) -> Option<Seen> {
    client.run(move || {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        udp_from(&UdpSocket::bind(any).unwrap(), target, bytes)
    })
}

/// The same through a socket that is given; answers must come from where the question went.
pub(super) fn udp_from(socket: &UdpSocket, target: SocketAddr, bytes: usize) -> Option<Seen> {
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let (sent, mut buffer) = (vec![0x5a; bytes], vec![0; bytes + SAID_BYTES]);
    socket.send(&sent).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    assert_eq!(buffer[SAID_BYTES..length], sent);
    Some(heard(&buffer[..SAID_BYTES]))
}
