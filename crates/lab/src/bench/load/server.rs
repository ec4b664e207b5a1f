//! The answering end. The first byte of a TCP connection says what it is for.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::super::error::{BenchError, NetworkContext};

/// First byte of a connection whose bytes are counted; the count, 8 bytes big
/// endian, is the answer to the end of the stream.
pub(super) const SINK: u8 = b'S';
/// First byte of a connection whose further bytes come back.
pub(super) const ECHO: u8 = b'E';
/// First byte of a datagram that is counted.
pub(super) const COUNTED: u8 = b'C';
/// First byte of a datagram that asks for the count of bytes and sets it to zero.
pub(super) const REPORT: u8 = b'R';

/// Receive buffer; larger ones no longer change the rate.
const BUFFER_BYTES: usize = 256 * 1024;

/// Serves until the process is killed.
pub(super) fn serve(port: u16) -> Result<(), BenchError> {
    start(port)?;
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Serves on threads; returns the port.
pub(super) fn start(port: u16) -> Result<u16, BenchError> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).on_network("listen on", address)?;
    let address = listener.local_addr().on_network("listen on", address)?;
    let socket = UdpSocket::bind(address).on_network("listen on", address)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    std::thread::spawn(move || count_datagrams(&socket));
    Ok(address.port())
}

/// An error ends the connection, which the client sees.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut purpose = [0u8];
    stream.read_exact(&mut purpose)?;
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut total_bytes = 0u64;
    loop {
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            break;
        }
        total_bytes += received as u64;
        if purpose == [ECHO] {
            stream.write_all(buffer.get(..received).unwrap_or_default())?;
        }
    }
    if purpose == [SINK] {
        stream.write_all(&total_bytes.to_be_bytes())?;
    }
    Ok(())
}

fn count_datagrams(socket: &UdpSocket) {
    let mut buffer = [0u8; 2048];
    let mut counted_bytes = 0u64;
    while let Ok((received, sender)) = socket.recv_from(&mut buffer) {
        let datagram = buffer.get(..received).unwrap_or_default();
        // An answer that is lost is asked for again.
        match datagram.first() {
            Some(&COUNTED) => counted_bytes += received as u64,
            Some(&REPORT) => {
                let _ = socket.send_to(&counted_bytes.to_be_bytes(), sender);
                counted_bytes = 0;
            }
            _ => {
                let _ = socket.send_to(datagram, sender);
            }
        }
    }
}
