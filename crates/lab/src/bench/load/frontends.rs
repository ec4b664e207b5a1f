//! Loads on frontends of Services: latency beside a direct connection, the
//! moment they lead where they should, and steady use while things change.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::error::{BenchError, NetworkContext};
use super::Measurement;
use super::whoami::ask;

/// A lost first packet is sent again after one second (RFC 6298 §2): less than
/// that makes each loss a failure.
const CONNECT_PATIENCE: Duration = Duration::from_millis(900);
/// How long a frontend that leads nowhere yet is given before it is asked anew.
const REACH_PATIENCE: Duration = Duration::from_millis(50);
/// Pause between two connections of steady use.
const STEADY_PAUSE: Duration = Duration::from_millis(1);

/// More failures than one in so many connections end a measurement.
const LEAST_SUCCESSES_PER_FAILURE: u32 = 50;

/// Connections straight to a pod and through Services, taking turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pairs {
    /// Straight to the pod.
    pub direct: Connections,
    /// To the Services' addresses.
    pub service: Connections,
}

/// Times of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Until the connection is established.
    pub first_packet: Measurement,
    /// Connect, ask, answer, close: the rate of one client.
    pub transaction: Measurement,
    /// Connections that failed; their times do not count.
    pub failures: u32,
}

/// When frontends led to the wanted backend. Nanoseconds of the Unix clock,
/// which all processes of a machine share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reached {
    /// How many did in time.
    pub frontends: usize,
    /// The first packet of the last one's connection.
    pub last_nanos: u64,
}

/// Steady use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Steady {
    /// Connections tried.
    pub attempts: u64,
    /// Those that nobody answered.
    pub failures: u64,
    /// Longest time without an answer, in milliseconds.
    pub longest_gap_millis: f64,
}

#[derive(Default)]
struct Times {
    connect: Vec<u64>,
    whole: Vec<u64>,
    failures: u32,
}

/// Nanoseconds of the Unix clock.
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    nanos(since)
}

/// For figures: nobody measures for centuries.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Connects `count` times to each side, in turns, so that both meet the same machine.
pub(super) fn pairs(direct: SocketAddr, services: &[SocketAddr], count: u32) -> Result<Pairs, BenchError> {
    let mut sides = [Times::default(), Times::default()];
    for service in services.iter().cycle().take(count as usize) {
        for (times, address) in sides.iter_mut().zip([direct, *service]) {
            if let Err(error) = times.add(address) {
                times.failures += 1;
                // Some may be lost in a crowd. Many are a network that does not work.
                if times.failures > count / LEAST_SUCCESSES_PER_FAILURE {
                    return Err(error).on_network("exchange data with", address);
                }
            }
        }
    }
    let [direct, service] = sides.map(Times::figures);
    Ok(Pairs { direct, service })
}

/// Asks all frontends until each leads to `expected`, or patience ends.
pub(super) fn reach(frontends: &[SocketAddr], expected: IpAddr, pause: Duration, patience: Duration) -> Reached {
    let give_up = Instant::now() + patience;
    let ask_until = |address: SocketAddr| loop {
        let (begin, begin_nanos) = (Instant::now(), unix_nanos());
        match ask(address, REACH_PATIENCE) {
            Ok(asked) if asked.who == expected => return Some(begin_nanos),
            _ if begin > give_up => return None,
            _ => std::thread::sleep(pause.saturating_sub(begin.elapsed())),
        }
    };
    let reached: Vec<Option<u64>> = std::thread::scope(|scope| {
        let ask_until = &ask_until;
        let threads: Vec<_> = frontends.iter().map(|address| scope.spawn(move || ask_until(*address))).collect();
        // Started, all of them: who waits for this line may begin.
        println!("ready");
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let reached: Vec<u64> = reached.into_iter().flatten().collect();
    Reached { frontends: reached.len(), last_nanos: reached.iter().copied().max().unwrap_or_default() }
}

/// Connects to the frontends in turns until standard input ends.
pub(super) fn steady(frontends: &[SocketAddr]) -> Steady {
    let input = std::thread::spawn(|| {
        let mut rest = Vec::new();
        // Any end is the end.
        let _ = std::io::stdin().read_to_end(&mut rest);
    });
    println!("ready");
    let mut seen = Steady::default();
    let mut answered = Instant::now();
    for address in frontends.iter().cycle().take_while(|_| !input.is_finished()) {
        seen.attempts += 1;
        let outcome = ask(*address, CONNECT_PATIENCE);
        seen.longest_gap_millis = seen.longest_gap_millis.max(answered.elapsed().as_secs_f64() * 1_000.0);
        match outcome {
            Ok(_) => answered = Instant::now(),
            Err(_) => seen.failures += 1,
        }
        std::thread::sleep(STEADY_PAUSE);
    }
    seen
}

// === impl Times ===

impl Times {
    fn add(&mut self, address: SocketAddr) -> std::io::Result<()> {
        let begin = Instant::now();
        let asked = ask(address, CONNECT_PATIENCE)?;
        self.whole.push(nanos(begin.elapsed()));
        self.connect.push(nanos(asked.connect));
        Ok(())
    }

    fn figures(self) -> Connections {
        let seconds = |nanos: &[u64]| Duration::from_nanos(nanos.iter().sum()).as_secs_f64();
        let (connecting, busy) = (seconds(&self.connect), seconds(&self.whole));
        Connections {
            first_packet: Measurement::of_transactions(self.connect, connecting),
            transaction: Measurement::of_transactions(self.whole, busy),
            failures: self.failures,
        }
    }
}
