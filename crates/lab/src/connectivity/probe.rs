//! One check, with the sockets of whatever network namespace the thread is in.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{Check, Question};
use crate::cluster::dns;
use crate::patience::patience;

/// Everything is on one machine: what takes longer than this is lost. A lost
/// SYN is sent again after a second (RFC 6298), which is still in time.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Datagrams may be lost while a neighbor is being resolved.
const UDP_ATTEMPTS: u32 = 3;

/// Carries out a check; microseconds, or why it failed.
pub(super) fn try_check(check: &Check) -> Result<u64, String> {
    let began = Instant::now();
    match &check.question {
        Question::TcpName(names) => expect_name(&http_get(check.target, "/hostname")?, names)?,
        Question::UdpName(names) => expect_name(&udp_name(check.target)?, names)?,
        Question::Echo(bytes) => echo(check.target, *bytes)?,
        Question::Accept => {
            connect(check.target)?;
        }
        Question::DnsName(name, expected) => dns_name(check.target, name, *expected)?,
        Question::SeenAs(addresses) => seen_as(check.target, addresses)?,
    }
    Ok(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))
}

fn connect(target: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&target, patience(TIMEOUT)).map_err(|error| reason(&error))?;
    stream.set_read_timeout(Some(patience(TIMEOUT))).map_err(|error| error.to_string())?;
    stream.set_write_timeout(Some(patience(TIMEOUT))).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The body of an HTTP/1.0 answer.
fn http_get(target: SocketAddr, path: &str) -> Result<String, String> {
    let mut stream = connect(target)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("connected, then {}", reason(&error)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("connected, then {}", reason(&error)))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| "the answer is not HTTP".to_owned())?;
    if !head.lines().next().is_some_and(|status| status.contains(" 200 ")) {
        return Err(format!("answered {:?}", head.lines().next().unwrap_or_default()));
    }
    Ok(body.to_owned())
}

fn echo(target: SocketAddr, bytes: usize) -> Result<(), String> {
    let body = http_get(target, &format!("/echo?msg={}", "s".repeat(bytes)))?;
    if body.len() == bytes { Ok(()) } else { Err(format!("{} of {bytes} octets came back", body.len())) }
}

fn udp_name(target: SocketAddr) -> Result<String, String> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let exchange = || -> std::io::Result<String> {
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(patience(TIMEOUT) / UDP_ATTEMPTS))?;
        socket.send(b"hostname")?;
        let mut answer = [0u8; 256];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
    };
    let mut last = String::new();
    for _ in 0..UDP_ATTEMPTS {
        match exchange() {
            Ok(name) => return Ok(name),
            Err(error) => last = reason(&error),
        }
    }
    Err(last)
}

fn dns_name(server: SocketAddr, name: &str, expected: IpAddr) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..UDP_ATTEMPTS {
        match dns::ask(server, name, patience(TIMEOUT) / UDP_ATTEMPTS) {
            Ok(addresses) if addresses.contains(&expected) => return Ok(()),
            Ok(addresses) => return Err(format!("{name} is {addresses:?}, expected {expected}")),
            Err(error) => last = reason(&error),
        }
    }
    Err(last)
}

fn seen_as(target: SocketAddr, addresses: &[IpAddr]) -> Result<(), String> {
    let mut stream = connect(target)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| format!("connected, then {}", reason(&error)))?;
    match text.trim().parse::<IpAddr>() {
        Ok(seen) if addresses.contains(&seen) => Ok(()),
        Ok(seen) => Err(format!("seen as {seen}, not as the node")),
        Err(_) => Err("the listener outside did not say whom it sees".to_owned()),
    }
}

fn expect_name(name: &str, expected: &[String]) -> Result<(), String> {
    let name = name.trim();
    if expected.iter().any(|one| one == name) { Ok(()) } else { Err(format!("{name:?} answered instead")) }
}

/// The few ways a packet gets lost, in words.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => "no answer".to_owned(),
        std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}
