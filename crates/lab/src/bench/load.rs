//! The load that benchmarks put on a network: one small program that is both
//! ends, so that every peer is measured with the same bytes.
//!
//! `server` answers until it is killed; `client` prints one [`Measurement`] as
//! JSON. Every run is bounded in time.

mod client;
mod cni;
mod dns;
mod frontends;
mod server;
mod whoami;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::error::BenchError;

pub use dns::Asked;
pub(super) use frontends::unix_nanos;
pub use frontends::{Connections, Pairs, Reached, Steady};

/// Arguments of the hidden verb `seaway lab load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer clients on a port, TCP and UDP.
    Server {
        /// Port of both.
        #[arg(long)]
        port: u16,
    },
    /// Measure against a server.
    Client {
        /// The server.
        #[arg(long)]
        server: SocketAddr,
        /// What to measure.
        #[arg(long, value_enum)]
        pattern: Pattern,
        /// For how long.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Tell clients which backend they reached.
    Whoami {
        /// Port to listen on, TCP.
        #[arg(long)]
        port: u16,
    },
    /// Connect to a pod and to Services in turns.
    Pairs {
        /// The pod.
        #[arg(long)]
        direct: SocketAddr,
        /// The Services' addresses.
        #[arg(long, value_delimiter = ',', required = true)]
        services: Vec<SocketAddr>,
        /// Connections of each side.
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
    },
    /// Ask Services until each leads to a backend.
    Reach {
        /// The Services' addresses.
        #[arg(long, value_delimiter = ',', required = true)]
        services: Vec<SocketAddr>,
        /// The backend.
        #[arg(long)]
        expect: IpAddr,
        /// Pause between two questions to one address.
        #[arg(long, default_value_t = 5_000)]
        pause_micros: u64,
        /// For how long.
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=900))]
        seconds: u64,
    },
    /// Connect to Services in turns until standard input ends.
    Steady {
        /// The Services' addresses.
        #[arg(long, value_delimiter = ',', required = true)]
        services: Vec<SocketAddr>,
    },
    /// Answer or ask DNS questions.
    Dns {
        #[command(subcommand)]
        role: dns::DnsRole,
    },
    /// Time the first plugin of a CNI network's list: ADD in fresh network namespaces.
    Cni {
        /// The list, as the runtime reads it.
        #[arg(long)]
        conflist: std::path::PathBuf,
        /// How many ADDs, at most 1,000.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
}

/// How client and server talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// One TCP connection, as fast as it goes.
    TcpStream,
    /// One byte there and one back over one TCP connection.
    TcpRr,
    /// The same with a new connection each time.
    TcpCrr,
    /// UDP datagrams of 1,200 bytes as fast as they go; what arrives counts.
    Udp,
    /// One byte there and one back over UDP.
    UdpRr,
}

/// What a client saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Bits that arrived, per second; zero for patterns that count transactions.
    pub bits_per_second: f64,
    /// Transactions per second; zero for streams.
    pub transactions_per_second: f64,
    /// Median time of a transaction in microseconds.
    pub median_micros: f64,
    /// 99th percentile in microseconds.
    pub p99_micros: f64,
}

// === impl Pattern ===

impl Pattern {
    /// Every pattern, in the order of the report.
    pub const ALL: [Pattern; 5] = [Pattern::TcpStream, Pattern::TcpRr, Pattern::TcpCrr, Pattern::Udp, Pattern::UdpRr];

    /// Name in reports and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Pattern::TcpStream => "tcp-stream",
            Pattern::TcpRr => "tcp-rr",
            Pattern::TcpCrr => "tcp-crr",
            Pattern::Udp => "udp",
            Pattern::UdpRr => "udp-rr",
        }
    }
}

// === impl Measurement ===

impl Measurement {
    /// A measurement of transactions that took these times.
    #[must_use]
    pub fn of_transactions(mut nanos: Vec<u64>, elapsed_seconds: f64) -> Self {
        nanos.sort_unstable();
        let at = |share: f64| {
            let index = ((nanos.len() as f64) * share) as usize;
            nanos.get(index.min(nanos.len().saturating_sub(1))).map_or(0.0, |n| *n as f64 / 1_000.0)
        };
        Self {
            transactions_per_second: nanos.len() as f64 / elapsed_seconds,
            median_micros: at(0.5),
            p99_micros: at(0.99),
            bits_per_second: 0.0,
        }
    }

    /// The figure that is compared: bits or transactions per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.bits_per_second > 0.0 { self.bits_per_second } else { self.transactions_per_second }
    }
}

// === impl LoadArgs ===

impl LoadArgs {
    /// Plays the role.
    ///
    /// # Errors
    /// The network refuses.
    pub fn run(&self) -> Result<(), BenchError> {
        match &self.role {
            Role::Server { port } => server::serve(*port)?,
            Role::Whoami { port } => whoami::serve(*port)?,
            Role::Client { server, pattern, seconds } => tell(&client::measure(*server, *pattern, *seconds)?),
            Role::Cni { conflist, count } => tell(&cni::measure(conflist, *count)?),
            Role::Pairs { direct, services, count } => tell(&frontends::pairs(*direct, services, *count)?),
            Role::Reach { services, expect, pause_micros, seconds } => {
                let (pause, patience) = (Duration::from_micros(*pause_micros), Duration::from_secs(*seconds));
                tell(&frontends::reach(services, *expect, pause, patience));
            }
            Role::Dns { role } => role.run()?,
            Role::Steady { services } => tell(&frontends::steady(services)),
        }
        Ok(())
    }
}

fn tell(seen: &impl Serialize) {
    println!("{}", serde_json::to_string(seen).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let measurement = Measurement::of_transactions((1..=100).rev().map(|n| n * 1_000).collect(), 2.0);
        assert_eq!(measurement.transactions_per_second, 50.0);
        assert_eq!(measurement.median_micros, 51.0);
        assert_eq!(measurement.p99_micros, 100.0);
        assert_eq!(Measurement::of_transactions(Vec::new(), 1.0).median_micros, 0.0);
    }

    #[test]
    fn every_pattern_moves_bytes_over_loopback() {
        let server = server::start(0).unwrap();
        for pattern in Pattern::ALL {
            let seen = client::measure(([127, 0, 0, 1], server).into(), pattern, 1).unwrap();
            assert!(seen.rate() > 0.0, "{pattern:?}: {seen:?}");
        }
    }
}
