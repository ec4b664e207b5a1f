//! The servers that are compared: processes of one node on one processor, fed
//! by the same API server, asked over loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::dnsperf::SERVER_PROCESSOR;
use crate::bench::error::BenchError;
use crate::bench::pods::load_program;
use crate::bench::report::OURS;
use crate::cluster::dns;
use crate::cluster::files::{kubeconfig_of, write_private};
use crate::error::{IoContext, Result};
use crate::machine::{Machine, Node, ProcessId, ProgramSpec};

/// Files of the benchmark inside the node; for Seaway the run directory, too.
pub(super) const DIRECTORY: &str = "/run/seaway-bench";
/// How long a server may take to know all Services.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_millis(200);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Clock ticks of proc(5) in a second.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// A candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Seaway,
    Coredns,
}

/// Where the servers run and what they are made from.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) machine: &'a Machine,
    pub(super) node: &'a Node,
    pub(super) coredns: PathBuf,
    pub(super) upstream: SocketAddr,
}

/// A running server. Several generations of one peer share its address.
#[derive(Debug)]
pub(super) struct Server<'a> {
    place: &'a Place<'a>,
    pub(super) peer: Peer,
    generation: u16,
}

// === impl Peer ===

impl Peer {
    pub(super) const ALL: [Self; 2] = [Self::Seaway, Self::Coredns];

    /// Its column in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seaway => OURS,
            Self::Coredns => "coredns",
        }
    }

    /// Where it answers.
    pub(super) fn address(self) -> SocketAddr {
        let port = match self {
            Self::Seaway => 5301,
            Self::Coredns => 5302,
        };
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// What it prints when it serves and follows the cluster.
    fn sign_of_life(self) -> &'static str {
        match self {
            Self::Seaway => "following the agent",
            Self::Coredns => "CoreDNS-1",
        }
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    /// Starts a server; it may not know much yet.
    pub(super) fn start(&'a self, peer: Peer, generation: u16) -> Result<Server<'a>> {
        let server = Server { place: self, peer, generation };
        let argv = match peer {
            Peer::Seaway => self.seaway_argv(generation)?,
            Peer::Coredns => self.coredns_argv(generation)?,
        };
        let argv = ["taskset", "-c", SERVER_PROCESSOR].map(str::to_owned).into_iter().chain(argv).collect();
        self.node.start(ProgramSpec { name: server.program(), argv, restart: true, ..ProgramSpec::default() })?;
        server.wait_for_sign()?;
        Ok(server)
    }

    fn seaway_argv(&self, generation: u16) -> Result<Vec<String>> {
        let script = format!("mkdir -p {DIRECTORY} && ln -sf /run/seaway/agent.sock {DIRECTORY}/agent.sock");
        self.node.exec(&["sh", "-c", &script])?;
        let address = Peer::Seaway.address();
        let configuration = json!({
            "dns": {
                "listen": [address.ip()],
                "port": address.port(),
                "upstreams": [self.upstream.to_string()],
                "admin": format!("127.0.0.1:{}", 9300 + generation),
            },
            "paths": { "run": DIRECTORY },
        });
        let path = format!("{DIRECTORY}/seaway-{generation}.yaml");
        // JSON is YAML.
        write_private(&self.node.path(&path), &configuration.to_string())?;
        Ok([load_program()?, "dns".to_owned(), "--config".to_owned(), path].into())
    }

    fn coredns_argv(&self, generation: u16) -> Result<Vec<String>> {
        let address = Peer::Coredns.address();
        let path = format!("{DIRECTORY}/Corefile-{generation}");
        let text = format!(
            ".:{} {{\n  bind {}\n  errors\n  kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    \
             kubeconfig {}\n    pods insecure\n    fallthrough in-addr.arpa ip6.arpa\n    ttl 30\n  }}\n  \
             prometheus 127.0.0.1:{}\n  forward . {} {{\n    max_concurrent 1000\n  }}\n  cache 30\n  loadbalance\n}}\n",
            address.port(),
            address.ip(),
            kubeconfig_of("admin").display(),
            9400 + generation,
            self.upstream,
        );
        write_private(&self.node.path(&path), &text)?;
        Ok([self.coredns.display().to_string(), "-conf".to_owned(), path].into())
    }
}

// === impl Server ===

impl<'a> Server<'a> {
    fn program(&self) -> String {
        format!("bench-dns-{}-{}", self.peer.name(), self.generation)
    }

    /// Starts the next generation beside this one and ends this one when that serves.
    pub(super) fn replace(self) -> Result<Self> {
        let next = self.place.start(self.peer, self.generation + 1)?;
        self.place.node.stop(&self.program())?;
        Ok(next)
    }

    /// Kills what answers; it is started again by whoever started it.
    pub(super) fn kill(&self) -> Result<()> {
        let process = self.answering()?;
        process.signal(Signal::KILL).on_file("kill", Path::new(&self.program()))
    }

    /// Waits until a name has an address.
    pub(super) fn wait_for(&self, name: &str) -> Result<()> {
        let address = self.peer.address();
        self.wait(&format!("an answer for {name}"), || {
            let asked = self.place.node.run_in(|| dns::ask(address, name, ANSWER_PATIENCE))?;
            Ok(asked.is_ok_and(|addresses| !addresses.is_empty()))
        })
    }

    fn wait_for_sign(&self) -> Result<()> {
        let log = self.place.node.log_file(&self.program());
        let sign = self.peer.sign_of_life();
        self.wait(sign, || Ok(std::fs::read_to_string(&log).is_ok_and(|text| text.contains(sign))))
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while !done()? {
            if Instant::now() > give_up {
                let reason = format!("no {what} after {} s", PATIENCE.as_secs());
                return Err(BenchError::Program { program: self.program(), reason }.into());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Processor time it has used, in seconds.
    pub(super) fn processor_seconds(&self) -> Result<f64> {
        let path = PathBuf::from(format!("/proc/{}/stat", self.answering()?.pid));
        let text = std::fs::read_to_string(&path).on_file("read", &path)?;
        Ok(processor_ticks(&text) / TICKS_PER_SECOND)
    }

    /// Resident memory in MiB: now, and at most since [`Self::forget_peak`].
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let (mut now, mut most) = (0.0, 0.0);
        for process in self.processes()? {
            let path = PathBuf::from(format!("/proc/{}/status", process.pid));
            let text = std::fs::read_to_string(&path).on_file("read", &path)?;
            now += mebibytes(&text, "VmRSS:");
            most += mebibytes(&text, "VmHWM:");
        }
        Ok((now, most))
    }

    /// From here on the peak is counted anew (proc(5), `clear_refs`).
    pub(super) fn forget_peak(&self) -> Result<()> {
        for process in self.processes()? {
            let path = PathBuf::from(format!("/proc/{}/clear_refs", process.pid));
            std::fs::write(&path, "5").on_file("write", &path)?;
        }
        Ok(())
    }

    /// The process that reads its sockets.
    fn answering(&self) -> Result<ProcessId> {
        let processes = self.processes()?;
        let is_worker = |process: &&ProcessId| process.arguments().iter().any(|word| word == "--worker");
        let process = processes.iter().find(is_worker).or(processes.first()).copied();
        let reason = || "it does not run".to_owned();
        Ok(process.ok_or_else(|| BenchError::Program { program: self.program(), reason: reason() })?)
    }

    /// All of this generation: the program, and for Seaway its worker.
    fn processes(&self) -> Result<Vec<ProcessId>> {
        let (names, file): (&[&str], _) = match self.peer {
            // A worker is the program's own file under the name it has in /proc.
            Peer::Seaway => (&["dns", "exe"], format!("{DIRECTORY}/seaway-{}.yaml", self.generation)),
            Peer::Coredns => (&["coredns"], format!("{DIRECTORY}/Corefile-{}", self.generation)),
        };
        let mut found = Vec::new();
        for name in names {
            let running = self.place.machine.running(self.place.node.name(), name)?;
            found.extend(running.into_iter().filter(|process| process.arguments().contains(&file)));
        }
        Ok(found)
    }
}

/// User and system time (proc(5), fields 14 and 15 of `stat`).
pub(super) fn processor_ticks(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_ascii_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum()
}

fn mebibytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kibibytes / 1_024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_strange_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 120 30 0 0 20 0 1 0 500 1 1";
        assert_eq!(processor_ticks(stat), 150.0);
        assert!(processor_ticks(&std::fs::read_to_string("/proc/self/stat").unwrap()) >= 0.0);
    }

    #[test]
    fn peers_answer_at_different_places() {
        assert_ne!(Peer::Seaway.address(), Peer::Coredns.address());
        assert_eq!(mebibytes("Name:\tx\nVmHWM:\t    2048 kB\n", "VmHWM:"), 2.0);
    }
}
