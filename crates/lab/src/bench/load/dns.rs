//! Both ends of DNS for benchmarks and tests: an upstream that answers
//! everything, and clients that notice every answer that does not come.

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::frontends::nanos;
use super::{Measurement, tell};
use crate::bench::error::{BenchError, NetworkContext};
use crate::cluster::dns::wire;

/// Seconds that answers of the upstream may be kept: longer than any benchmark.
const UPSTREAM_TTL_SECONDS: u32 = 3_600;
/// What the upstream says every name has (RFC 5737).
const UPSTREAM_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// A query whose answer is not here so long after the last one was sent is lost: resolvers of
/// pods ask again after five seconds.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// Header of a message, and what follows the name of its question.
const HEADER_OCTETS: usize = 12;
const QUESTION_END_OCTETS: usize = 4;

/// Ends of DNS.
#[derive(Debug, Subcommand)]
pub(super) enum DnsRole {
    /// Answer every question over UDP with one address.
    Upstream {
        /// Where.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Ask at a steady pace until standard input ends.
    Ask {
        /// The server.
        #[arg(long)]
        server: SocketAddr,
        /// File with a name in each line.
        #[arg(long)]
        names: PathBuf,
        /// Clients side by side, each with a socket of its own.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
        clients: u16,
        /// Pause of a client between two queries.
        #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
        pause_micros: u64,
    },
}

/// What clients saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Queries sent.
    pub queries: u64,
    /// Of those, without an answer.
    pub lost: u64,
    /// Of those, answered with a response code that is no success.
    pub failed: u64,
    /// Longest time without any answer to any client.
    pub longest_gap_millis: f64,
    /// Times of answers.
    pub answers: Measurement,
}

/// One client: it sends on whether or not answers come, so that a gap is seen as long as it is.
#[derive(Debug)]
struct Client {
    socket: UdpSocket,
    /// When each query without an answer was sent, by its number.
    waiting: HashMap<u16, Instant>,
    seen: Asked,
    times: Vec<u64>,
}

// === impl DnsRole ===

impl DnsRole {
    pub(super) fn run(&self) -> Result<(), BenchError> {
        match self {
            Self::Upstream { listen } => upstream(*listen),
            Self::Ask { server, names, clients, pause_micros } => {
                let names = read_names(names)?;
                let stop = AtomicBool::new(false);
                let seen = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut rest = Vec::new();
                        // Any end is the end.
                        let _ = std::io::stdin().read_to_end(&mut rest);
                        stop.store(true, Ordering::Relaxed);
                    });
                    println!("ready");
                    ask(*server, &names, *clients, Duration::from_micros(*pause_micros), &stop)
                });
                tell(&seen?);
                Ok(())
            }
        }
    }
}

fn upstream(listen: SocketAddr) -> Result<(), BenchError> {
    let socket = UdpSocket::bind(listen).on_network("listen on", listen)?;
    println!("ready");
    let mut message = [0; 1_500];
    loop {
        // What cannot be read or sent is asked for again.
        let Ok((length, client)) = socket.recv_from(&mut message) else { continue };
        if let Some(length) = turn_into_answer(&mut message, length) {
            let _ = socket.send_to(message.get(..length).unwrap_or_default(), client);
        }
    }
}

/// Makes the query in `message` its own answer; none: it is no query.
fn turn_into_answer(message: &mut [u8], length: usize) -> Option<usize> {
    let name_end = wire::after_name(message.get(..length)?, HEADER_OCTETS)?;
    let end = name_end + QUESTION_END_OCTETS;
    // Response, recursion desired and available; one question, one answer, nothing else.
    message.get_mut(2..HEADER_OCTETS)?.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    let mut record = vec![0xc0, 12, 0, 1, 0, 1];
    record.extend(UPSTREAM_TTL_SECONDS.to_be_bytes());
    record.extend([0, 4]);
    record.extend(UPSTREAM_ADDRESS.octets());
    message.get_mut(end..end + record.len())?.copy_from_slice(&record);
    Some(end + record.len())
}

fn read_names(path: &Path) -> Result<Vec<String>, BenchError> {
    let unusable = |reason: String| BenchError::Program { program: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    // The second word of a line is its record type in dnsperf's files.
    let names: Vec<String> = text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    if names.is_empty() { Err(unusable("it has no names".to_owned())) } else { Ok(names) }
}

/// Asks until `stop`.
fn ask(
    server: SocketAddr,
    names: &[String],
    clients: u16,
    pause: Duration,
    stop: &AtomicBool,
) -> Result<Asked, BenchError> {
    let begin = Instant::now();
    let last_answer = AtomicU64::new(0);
    let longest_gap = AtomicU64::new(0);
    let answered = || {
        let now = nanos(begin.elapsed());
        let before = last_answer.fetch_max(now, Ordering::Relaxed);
        longest_gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    };
    let tallies: Vec<Result<(Asked, Vec<u64>), BenchError>> = std::thread::scope(|scope| {
        let client = |number: u16| {
            let answered = &answered;
            move || ask_as_one(server, names, usize::from(number), pause, stop, answered)
        };
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(client(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let (mut all, mut times) = (Asked::default(), Vec::new());
    for tally in tallies {
        let (one, nanos) = tally?;
        all.queries += one.queries;
        all.lost += one.lost;
        all.failed += one.failed;
        times.extend(nanos);
    }
    all.longest_gap_millis = longest_gap.load(Ordering::Relaxed) as f64 / 1e6;
    all.answers = Measurement::of_transactions(times, begin.elapsed().as_secs_f64());
    Ok(all)
}

fn ask_as_one(
    server: SocketAddr,
    names: &[String],
    number: usize,
    pause: Duration,
    stop: &AtomicBool,
    answered: impl Fn(),
) -> Result<(Asked, Vec<u64>), BenchError> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).on_network("listen on", any)?;
    socket.connect(server).on_network("reach", server)?;
    let mut client = Client { socket, waiting: HashMap::new(), seen: Asked::default(), times: Vec::new() };
    for name in names.iter().cycle().skip(number).take_while(|_| !stop.load(Ordering::Relaxed)) {
        client.send(name);
        client.receive_until(Instant::now() + pause, &answered, false);
    }
    client.receive_until(Instant::now() + LOST_AFTER, &answered, true);
    client.seen.lost += client.waiting.len() as u64;
    Ok((client.seen, client.times))
}

// === impl Client ===

impl Client {
    fn send(&mut self, name: &str) {
        let id = (self.seen.queries & u64::from(u16::MAX)) as u16;
        self.seen.queries += 1;
        // So old that its number is used again.
        self.seen.lost += u64::from(self.waiting.insert(id, Instant::now()).is_some());
        // A refused send is a lost query: the server's socket is gone.
        let _ = self.socket.send(&wire::question(id, name, false));
    }

    /// Takes answers until `until`, or until nothing is waited for any more.
    fn receive_until(&mut self, until: Instant, answered: &impl Fn(), only_waiting: bool) {
        let mut answer = [0; 1_500];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if (only_waiting && self.waiting.is_empty()) || self.socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            let Ok(length) = self.socket.recv(&mut answer) else { continue };
            if let Some([first, second, _, flags, ..]) = answer.get(..length)
                && let Some(since) = self.waiting.remove(&u16::from_be_bytes([*first, *second]))
            {
                answered();
                self.times.push(nanos(since.elapsed()));
                self.seen.failed += u64::from(flags & 0xf != 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_upstream_s_address() {
        let mut message = [0; 512];
        let query = wire::question(9, "any.example.test", false);
        message[..query.len()].copy_from_slice(&query);
        let length = turn_into_answer(&mut message, query.len()).unwrap();
        assert_eq!(wire::addresses(9, &message[..length]).unwrap(), [UPSTREAM_ADDRESS]);
        assert_eq!(turn_into_answer(&mut message, 5), None);
    }

    #[test]
    fn clients_count_what_is_answered_and_what_is_not() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let stop = AtomicBool::new(false);
        let names = ["one.test".to_owned(), "two.test".to_owned()];
        let seen = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(address, &names, 2, Duration::from_micros(100), &stop).unwrap());
            let mut message = [0; 512];
            let mut answered = 0;
            while answered < 50 {
                let (length, client) = server.recv_from(&mut message).unwrap();
                let length = turn_into_answer(&mut message, length).unwrap();
                server.send_to(&message[..length], client).unwrap();
                answered += 1;
            }
            stop.store(true, Ordering::Relaxed);
            // What is asked from here on is asked in vain.
            drop(server);
            asking.join().unwrap()
        });
        assert_eq!(seen.queries - seen.lost, 50, "{seen:?}");
        assert!(seen.failed == 0 && seen.longest_gap_millis > 0.0, "{seen:?}");
    }
}
