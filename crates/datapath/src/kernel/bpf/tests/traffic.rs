//! Traffic between pods, and waiting for what packets in flight may still delay.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::hand::Pod;
use super::namespaces::Running;

/// No packet of these tests takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds.
pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "did not come about: {what}");
        std::thread::yield_now();
    }
}

/// Sends bytes from one pod to a TCP server in another and compares what comes back.
/// `target` is where the client connects; none: the server's own address.
pub(super) fn tcp_echo(client: &Pod, server: &Pod, address: IpAddr, target: Option<SocketAddr>, bytes: usize) {
    let port = target.map_or(0, |_| 8080);
    let listener = server.namespace.run(move || TcpListener::bind((address, port)).unwrap());
    let target = target.unwrap_or(listener.local_addr().unwrap());
    let serving = server.namespace.start(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = vec![0; bytes];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
    });
    let same = client.namespace.run(move || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (mut received, mut writer, to_send) = (vec![0; bytes], stream.try_clone().unwrap(), sent.clone());
        let writing = std::thread::spawn(move || writer.write_all(&to_send).unwrap());
        stream.read_exact(&mut received).unwrap();
        writing.join().unwrap();
        received == sent
    });
    serving.join();
    assert!(same, "the echo differs from what was sent");
}

/// Datagrams that go back and forth between two pods, one at a time, until stopped.
pub(super) struct PingPong {
    rounds: Arc<AtomicU64>,
    stop_client: Arc<AtomicBool>,
    stop_server: Arc<AtomicBool>,
    client: Running<u64>,
    server: Running<()>,
}

// === impl PingPong ===

impl PingPong {
    pub(super) fn start(client: &Pod, server: &Pod, address: IpAddr) -> Self {
        let rounds = Arc::<AtomicU64>::default();
        let (stop_client, stop_server) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let socket = server.namespace.run(move || UdpSocket::bind((address, 0)).unwrap());
        let target = socket.local_addr().unwrap();
        let stopped = Arc::clone(&stop_server);
        let server = server.namespace.start(move || {
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut buffer = [0; 8];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, sender)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&buffer, sender).unwrap();
                }
            }
        });
        let (counted, stopped) = (Arc::clone(&rounds), Arc::clone(&stop_client));
        let client = client.namespace.start(move || send_until(&stopped, &counted, target));
        Self { rounds, stop_client, stop_server, client, server }
    }

    /// Waits for some more rounds.
    pub(super) fn go_on_for(&self, rounds: u64) {
        let goal = self.rounds.load(Ordering::Relaxed) + rounds;
        eventually("datagrams go back and forth", || self.rounds.load(Ordering::Relaxed) >= goal);
    }

    /// Ends it, after the last answer; returns the datagrams lost.
    pub(super) fn stop(self) -> u64 {
        self.stop_client.store(true, Ordering::Relaxed);
        let lost = self.client.join();
        self.stop_server.store(true, Ordering::Relaxed);
        self.server.join();
        lost
    }
}

fn send_until(stopped: &AtomicBool, rounds: &AtomicU64, target: SocketAddr) -> u64 {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(target).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let (mut lost, mut buffer) = (0, [0; 8]);
    while !stopped.load(Ordering::Relaxed) {
        let number = rounds.load(Ordering::Relaxed).to_be_bytes();
        let answered = socket.send(&number).is_ok() && socket.recv(&mut buffer).is_ok() && buffer == number;
        lost += u64::from(!answered);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    lost
}
