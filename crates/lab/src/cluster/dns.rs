//! Asking one DNS question over UDP, to see whether the cluster's DNS answers.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

pub mod wire;

/// Asks `server` for the addresses of `name`, of the family of `server` itself.
///
/// # Errors
/// No answer within `timeout`, or one that is no success.
pub fn ask(server: SocketAddr, name: &str, timeout: Duration) -> std::io::Result<Vec<IpAddr>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    ask_over(&UdpSocket::bind(any)?, server, name, timeout)
}

/// The same over a socket that was made for this one question.
///
/// # Errors
/// As [`ask`].
pub fn ask_over(socket: &UdpSocket, server: SocketAddr, name: &str, timeout: Duration) -> std::io::Result<Vec<IpAddr>> {
    socket.connect(server)?;
    socket.set_read_timeout(Some(timeout))?;
    // One question per socket: the port tells answers apart.
    const QUESTION_ID: u16 = 1;
    socket.send(&wire::question(QUESTION_ID, name, !server.is_ipv4()))?;
    let mut answer = [0u8; 1500];
    let length = socket.recv(&mut answer)?;
    wire::addresses(QUESTION_ID, answer.get(..length).unwrap_or_default())
        .map_err(|reason| std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
}
