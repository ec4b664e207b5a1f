//! The measuring end.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::super::error::{BenchError, NetworkContext};
use super::server::{COUNTED, ECHO, REPORT, SINK};
use super::{Measurement, Pattern};

/// Bytes of one write to a stream: what `iperf3` uses.
const WRITE_BYTES: usize = 128 * 1024;
/// Fits every tunnel of every peer without fragments.
const DATAGRAM_BYTES: usize = 1_200;
/// A silent peer fails a run rather than hanging it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn measure(server: SocketAddr, pattern: Pattern, seconds: u64) -> Result<Measurement, BenchError> {
    let duration = Duration::from_secs(seconds.clamp(1, 60));
    match pattern {
        Pattern::TcpStream => tcp_stream(server, duration),
        Pattern::TcpRr => tcp_request_response(server, duration),
        Pattern::TcpCrr => tcp_connect_request_response(server, duration),
        Pattern::Udp => udp_stream(server, duration),
        Pattern::UdpRr => udp_request_response(server, duration),
    }
    .on_network("exchange data with", server)
}

fn connect(server: SocketAddr, purpose: u8) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[purpose])?;
    Ok(stream)
}

fn tcp_stream(server: SocketAddr, duration: Duration) -> std::io::Result<Measurement> {
    let mut stream = connect(server, SINK)?;
    let block = vec![0x5a; WRITE_BYTES];
    let start = Instant::now();
    while start.elapsed() < duration {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0u8; 8];
    stream.read_exact(&mut total)?;
    Ok(bits(u64::from_be_bytes(total), start))
}

fn tcp_request_response(server: SocketAddr, duration: Duration) -> std::io::Result<Measurement> {
    let mut stream = connect(server, ECHO)?;
    let mut byte = [0u8];
    transactions(duration, || {
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)
    })
}

fn tcp_connect_request_response(server: SocketAddr, duration: Duration) -> std::io::Result<Measurement> {
    // Closing by reset keeps no port in TIME_WAIT: a longer run must not run out of ports.
    let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let mut byte = [0u8];
    transactions(duration, || {
        let mut stream = connect(server, ECHO)?;
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        setsockopt(&stream, sockopt::Linger, &reset).map_err(std::io::Error::from)
    })
}

fn datagram_socket(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket)
}

fn udp_request_response(server: SocketAddr, duration: Duration) -> std::io::Result<Measurement> {
    let socket = datagram_socket(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0u8];
    transactions(duration, || {
        socket.send(&[0])?;
        socket.recv(&mut byte).map(|_| ())
    })
}

fn udp_stream(server: SocketAddr, duration: Duration) -> std::io::Result<Measurement> {
    let socket = datagram_socket(server)?;
    report(&socket)?;
    let datagram = [COUNTED; DATAGRAM_BYTES];
    let start = Instant::now();
    while start.elapsed() < duration {
        // A full queue is part of the measurement.
        let _ = socket.send(&datagram);
    }
    Ok(bits(report(&socket)?, start))
}

/// Asks for the count of bytes since the last report.
fn report(socket: &UdpSocket) -> std::io::Result<u64> {
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut total = [0u8; 8];
    let give_up = Instant::now() + PATIENCE;
    loop {
        socket.send(&[REPORT])?;
        match socket.recv(&mut total) {
            Ok(_) => return Ok(u64::from_be_bytes(total)),
            Err(error) if Instant::now() > give_up => return Err(error),
            Err(_) => {}
        }
    }
}

fn transactions(
    duration: Duration,
    mut transaction: impl FnMut() -> std::io::Result<()>,
) -> std::io::Result<Measurement> {
    let mut nanos = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    while start.elapsed() < duration {
        let begin = Instant::now();
        transaction()?;
        nanos.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Measurement::of_transactions(nanos, start.elapsed().as_secs_f64()))
}

fn bits(bytes: u64, start: Instant) -> Measurement {
    Measurement { bits_per_second: bytes as f64 * 8.0 / start.elapsed().as_secs_f64(), ..Measurement::default() }
}
