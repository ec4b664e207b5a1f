//! dnsperf as the load, and what it prints as figures.

use std::net::SocketAddr;

use crate::bench::error::BenchError;
use crate::error::Result;
use crate::machine::Node;

/// The processor that the load keeps to; the server has [`SERVER_PROCESSOR`].
pub(super) const LOAD_PROCESSOR: &str = "0";
/// The one processor of the server under load.
pub(super) const SERVER_PROCESSOR: &str = "1";
/// Queries under way: enough to keep a server busy, and fewer than CoreDNS forwards at most.
const OUTSTANDING: u32 = 200;
/// Sockets that send them.
const CLIENTS: u32 = 20;

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Load<'a> {
    pub(super) server: SocketAddr,
    /// File inside the node with a name and a type in each line.
    pub(super) names: &'a str,
    pub(super) seconds: u32,
    /// As fast as it goes unless given.
    pub(super) queries_per_second: Option<f64>,
    /// Prints each answer, for percentiles; costs the load time.
    pub(super) each: bool,
}

/// What came out of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) completed: u64,
    pub(super) lost: u64,
    pub(super) per_second: f64,
    /// Answers that were no success.
    pub(super) failed: u64,
    /// 99th percentile, when each answer was printed.
    pub(super) p99_micros: f64,
    /// Processor time that the load itself took for one query.
    pub(super) load_micros: f64,
}

/// Runs the words after it and then tells the processor time they took (`times`, POSIX shell).
const TIMED: &str = "\"$@\"; code=$?; times; exit $code";

// === impl Load ===

impl Load<'_> {
    pub(super) fn run(&self, node: &Node) -> Result<Seen> {
        let failed = |reason: String| BenchError::Program { program: "dnsperf".to_owned(), reason };
        let timed = ["sh", "-c", TIMED, "sh"].map(str::to_owned).into_iter().chain(self.argv());
        let output = node.exec(&timed.collect::<Vec<_>>())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(failed(format!("{}{text}", String::from_utf8_lossy(&output.stderr))).into());
        }
        let seen =
            Seen::read(&text).ok_or_else(|| failed(text.lines().rev().take(12).collect::<Vec<_>>().join("\n")))?;
        if seen.failed > seen.completed / 100 {
            return Err(failed(format!("{} of {} answers were no success", seen.failed, seen.completed)).into());
        }
        Ok(seen)
    }

    pub(super) fn argv(&self) -> Vec<String> {
        let mut argv = ["taskset", "-c", LOAD_PROCESSOR, "dnsperf", "-d", self.names].map(str::to_owned).to_vec();
        let numbers = [
            ("-s", self.server.ip().to_string()),
            ("-p", self.server.port().to_string()),
            ("-l", self.seconds.to_string()),
            ("-q", OUTSTANDING.to_string()),
            ("-c", CLIENTS.to_string()),
            ("-t", "2".to_owned()),
        ];
        argv.extend(numbers.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        if let Some(rate) = self.queries_per_second {
            argv.extend(["-Q".to_owned(), format!("{:.0}", rate.max(1.0))]);
        }
        if self.each {
            argv.push("-v".to_owned());
        }
        argv
    }
}

// === impl Seen ===

impl Seen {
    /// Reads what dnsperf printed, and [`TIMED`] behind it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let number = |label: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(label))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let codes = text.lines().find_map(|line| line.trim().strip_prefix("Response codes:")).unwrap_or_default();
        let failed = codes.split(',').filter(|code| !code.trim().starts_with("NOERROR"));
        let count = |code: &str| code.split_whitespace().nth(1)?.parse::<u64>().ok();
        // `> NOERROR name type seconds`
        let answers =
            text.lines().filter_map(|line| line.strip_prefix("> ")?.split_whitespace().last()?.parse::<f64>().ok());
        let mut seconds: Vec<f64> = answers.collect();
        seconds.sort_by(f64::total_cmp);
        let p99 = seconds.get(seconds.len() * 99 / 100).copied().unwrap_or_default();
        let completed = number("Queries completed:")?;
        let load_seconds: f64 = text.lines().last()?.split_whitespace().filter_map(minutes_and_seconds).sum();
        Some(Self {
            completed: completed as u64,
            lost: number("Queries lost:")? as u64,
            per_second: number("Queries per second:")?,
            failed: failed.filter_map(count).sum(),
            p99_micros: p99 * 1e6,
            load_micros: load_seconds * 1e6 / completed.max(1.0),
        })
    }
}

/// Reads `1m2.5s`, as shells print times.
fn minutes_and_seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_dnsperf_prints() {
        let text = "> NOERROR a.test. A 0.000100\n> NOERROR b.test. A 0.000300\nStatistics:\n\n  \
            Queries sent:         1000\n  Queries completed:    998 (99.80%)\n  Queries lost:         2 (0.20%)\n\n  \
            Response codes:       NOERROR 990 (99.20%), NXDOMAIN 8 (0.80%)\n  \
            Average packet size:  request 28, response 62\n  Run time (s):         0.5\n  \
            Queries per second:   1996.000000\n\n0m0.00s 0m0.00s\n0m0.25s 0m0.748s\n";
        let seen = Seen::read(text).unwrap();
        assert_eq!((seen.completed, seen.lost, seen.failed), (998, 2, 8));
        assert_eq!((seen.per_second, seen.p99_micros.round()), (1996.0, 300.0));
        assert_eq!(seen.load_micros.round(), 1_000.0, "0.998 s for 998 queries");
        assert_eq!(minutes_and_seconds("1m2.5s"), Some(62.5));
        assert_eq!(Seen::read("Error: no"), None);
    }

    #[test]
    fn a_rate_is_asked_for_only_when_given() {
        let load = Load {
            server: "127.0.0.1:5301".parse().unwrap(),
            names: "/x",
            seconds: 2,
            queries_per_second: None,
            each: false,
        };
        assert!(!load.argv().contains(&"-Q".to_owned()));
        let paced = Load { queries_per_second: Some(10.4), ..load };
        assert!(paced.argv().windows(2).any(|pair| pair == ["-Q", "10"]));
    }
}
