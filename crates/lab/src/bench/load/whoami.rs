//! A server that says which backend it is, and the question to it: one
//! connection, one byte there, the backend's address back.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::error::{BenchError, NetworkContext};

/// A client that says nothing holds up the others no longer than this.
const SILENCE: Duration = Duration::from_secs(1);

/// One question and its times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// From the first packet to the established connection.
    pub(super) connect: Duration,
    /// The backend that answered.
    pub(super) who: IpAddr,
}

/// Serves until the process is killed.
pub(super) fn serve(port: u16) -> Result<(), BenchError> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).on_network("listen on", address)?;
    println!("ready");
    answer_all(&listener);
    Ok(())
}

/// One thread is enough, and disturbs what is measured the least.
fn answer_all(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that broke off hurts only itself.
        let _ = answer(stream);
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut question = [0u8];
    stream.read_exact(&mut question)?;
    let own = match stream.local_addr()?.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    stream.write_all(&own.octets())
}

/// Asks whoever is behind `address`.
pub(super) fn ask(address: SocketAddr, patience: Duration) -> std::io::Result<Asked> {
    let begin = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    let connect = begin.elapsed();
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&[1])?;
    let mut own = Vec::with_capacity(16);
    // Until the server has closed: TIME_WAIT is then its, and no port of the client's is kept.
    stream.read_to_end(&mut own)?;
    let own: [u8; 16] = own.try_into().map_err(|_| std::io::ErrorKind::UnexpectedEof)?;
    Ok(Asked { connect, who: Ipv6Addr::from(own).to_canonical() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_says_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || answer_all(&listener));
        let asked = ask(address, SILENCE).unwrap();
        assert_eq!(asked.who, address.ip());
    }
}
