//! Conversations over real sockets: servers that say whom they see, clients that compare.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::namespaces::Namespace;
use super::super::traffic::PATIENCE;

/// What is dropped did not arrive within this time.
pub(super) const SILENCE: Duration = Duration::from_millis(300);

/// Starts a TCP and a UDP server that say whom they see, then give back what they get.
pub(super) fn serve(namespace: &Namespace, address: SocketAddr) {
    let (listener, socket) =
        namespace.run(move || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
    // Both end with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || give_back(stream));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let seen = format!("{client:<60}");
            let _ = socket.send_to(&[seen.as_bytes(), &buffer[..length]].concat(), client);
        }
    });
}

fn give_back(mut stream: TcpStream) {
    let Ok(seen) = stream.peer_addr() else { return };
    let _ = stream.write_all(format!("{seen:<60}").as_bytes());
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Talks over TCP: sends bytes, compares what comes back. Returns whom the server saw.
pub(super) fn tcp(client: &Namespace, target: SocketAddr, bytes: usize) -> Result<SocketAddr, std::io::ErrorKind> {
    client.run(move || tcp_here(target, bytes).map_err(|error| error.kind()))
}

fn tcp_here(target: SocketAddr, bytes: usize) -> std::io::Result<SocketAddr> {
    let mut stream = TcpStream::connect_timeout(&target, SILENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = [0; 60];
    stream.read_exact(&mut seen)?;
    let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (mut received, mut writer, to_send) = (vec![0; bytes], stream.try_clone()?, sent.clone());
    let writing = std::thread::spawn(move || writer.write_all(&to_send));
    stream.read_exact(&mut received)?;
    writing.join().unwrap()?;
    assert!(received == sent, "what came back differs from what was sent");
    Ok(std::str::from_utf8(&seen).unwrap().trim().parse().unwrap())
}

/// Talks over UDP, one datagram each way. Returns whom the server saw; none: no answer.
pub(super) fn udp(client: &Namespace, target: SocketAddr, bytes: usize) -> Option<SocketAddr> {
    client.run(move || {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        udp_from(&UdpSocket::bind(any).unwrap(), target, bytes)
    })
}

/// The same through a socket that is given; answers must come from where the question went.
pub(super) fn udp_from(socket: &UdpSocket, target: SocketAddr, bytes: usize) -> Option<SocketAddr> {
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let (sent, mut buffer) = (vec![0x5a; bytes], vec![0; bytes + 60]);
    socket.send(&sent).ok()?;
    let length = socket.recv(&mut buffer).ok()?;
    assert_eq!(buffer[60..length], sent);
    Some(std::str::from_utf8(&buffer[..60]).unwrap().trim().parse().unwrap())
}
