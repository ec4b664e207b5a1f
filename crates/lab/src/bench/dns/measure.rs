//! The measurements: rates, times, memory, and what is lost in an upgrade and
//! after `kill -9`. Beside them the floor: a program that sends each query back with one
//! record behind it, which is what the kernel and the load cost.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;

use super::content;
use super::dnsperf::{LOAD_PROCESSOR, Load, SERVER_PROCESSOR, Seen};
use super::peer::{DIRECTORY, Peer, Place, Server, TICKS_PER_SECOND, processor_ticks};
use crate::bench::error::BenchError;
use crate::bench::load::Asked;
use crate::bench::pods::{Running, load_program};
use crate::bench::report::{Better, Rows};
use crate::cluster::api::ApiClient;
use crate::cluster::files::write_private;
use crate::cluster::progress::Progress;
use crate::error::Result;
use crate::machine::Breakage;

/// Names in the lists that are asked over and over.
const LIST_NAMES: u32 = 1_000;
/// Names of others that the cache holds.
const CACHED_NAMES: u32 = 200;
/// A server forwards at most so many a second; names that are asked once must last a load.
const MOST_FORWARDED_PER_SECOND: u32 = 120_000;

/// Name of the floor's column.
pub(super) const FLOOR: &str = "echo";
/// Where it listens.
const FLOOR_PORT: u16 = 5303;
/// Starts the floor (the words up to `--`), waits for its socket, runs the rest as a load, and tells
/// the line of proc(5) with the floor's processor time.
const BESIDE_FLOOR: &str = "port=$1; shift; floor=; \
    while [ \"$1\" != -- ]; do floor=\"$floor $1\"; shift; done; shift; \
    $floor >/dev/null & echo=$!; until grep -q \":$port \" /proc/net/udp; do sleep 0.01; done; \
    \"$@\"; code=$?; cat /proc/$echo/stat; kill $echo; exit $code";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) services: u32,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
}

/// One run.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub(super) place: &'a Place<'a>,
    pub(super) api: &'a ApiClient,
    pub(super) plan: Plan,
    pub(super) progress: &'a Progress,
}

// === impl Bench ===

impl Bench<'_> {
    pub(super) fn run(&self, rows: &mut Rows) -> Result<()> {
        let names = self.write_names("services", self.service_names())?;
        let cached =
            self.write_names("cached", (0..CACHED_NAMES).map(|index| format!("host-{index}.example.test.")))?;
        let mut servers = Vec::new();
        for peer in Peer::ALL {
            let server = self.place.start(peer, 1)?;
            for index in [0, self.plan.services / 2, self.plan.services - 1] {
                server.wait_for(&content::full_name(index))?;
            }
            self.progress.line(&format!("{} knows all Services", peer.name()));
            servers.push(server);
        }
        for round in 1..=self.plan.rounds {
            self.floor(&names, rows)?;
            for server in &servers {
                self.tell(server, &format!("round {round}"));
                self.rate("service names", &names, server, rows)?;
                // Filled, so that no miss is among what counts.
                self.load(server, &cached, 1).run(self.place.node)?;
                self.rate("cached external names", &cached, server, rows)?;
                self.forwarding(round, server, rows)?;
            }
        }
        self.times(&names, &servers, rows)?;
        for server in &servers {
            self.memory(server, rows)?;
        }
        for server in servers {
            self.tell(&server, "upgrade and kill");
            let server = self.upgrade(&names, server, rows)?;
            self.kill(&names, &server, rows)?;
        }
        Ok(())
    }

    fn tell(&self, server: &Server<'_>, what: &str) {
        self.progress.passing(&format!("{}: {what}", server.peer.name()));
    }

    fn service_names(&self) -> impl Iterator<Item = String> {
        let step = (self.plan.services / LIST_NAMES).max(1);
        (0..self.plan.services).step_by(step as usize).map(content::full_name)
    }

    /// Writes a list for dnsperf; its path inside the node.
    fn write_names(&self, list: &str, names: impl Iterator<Item = String>) -> Result<String> {
        let path = format!("{DIRECTORY}/{list}.names");
        let text: String = names.map(|name| format!("{name} A\n")).collect();
        write_private(&self.place.node.path(&path), &text)?;
        Ok(path)
    }

    fn load<'l>(&self, server: &Server<'_>, names: &'l str, seconds: u32) -> Load<'l> {
        Load { server: server.peer.address(), names, seconds, queries_per_second: None, each: false }
    }

    /// As fast as it goes: answers a second, and a second of the server's processor.
    fn rate(&self, what: &str, names: &str, server: &Server<'_>, rows: &mut Rows) -> Result<Seen> {
        let before = server.processor_seconds()?;
        let seen = self.load(server, names, self.plan.seconds).run(self.place.node)?;
        let used = server.processor_seconds()? - before;
        let name = server.peer.name();
        rows.add(what, "1/s", Better::Higher, name, seen.per_second);
        rows.add(&format!("{what}, by processor time"), "1/s", Better::Higher, name, seen.completed as f64 / used);
        rows.add(&format!("{what}, lost"), "count", Better::Lower, name, seen.lost as f64);
        rows.add(&format!("{what}, the load's own time for one"), "µs", Better::Lower, name, seen.load_micros);
        Ok(seen)
    }

    /// What a server could do at most that makes two system calls for each query and does nothing else.
    fn floor(&self, names: &str, rows: &mut Rows) -> Result<()> {
        let failed = |reason: String| BenchError::Program { program: FLOOR.to_owned(), reason };
        let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), FLOOR_PORT);
        let load = Load { server, names, seconds: self.plan.seconds, queries_per_second: None, each: false };
        let words = ["sh", "-c", BESIDE_FLOOR, "sh", &format!("{FLOOR_PORT:04X}"), "taskset", "-c", SERVER_PROCESSOR]
            .map(str::to_owned);
        let listen = ["lab", "load", "dns", "upstream", "--listen", &server.to_string(), "--"].map(str::to_owned);
        let argv: Vec<String> = words.into_iter().chain([load_program()?]).chain(listen).chain(load.argv()).collect();
        let output = self.place.node.exec(&argv)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let seen = Seen::read(&text).filter(|_| output.status.success());
        let seen = seen.ok_or_else(|| failed(String::from_utf8_lossy(&output.stderr).into_owned()))?;
        let used = processor_ticks(text.lines().last().unwrap_or_default()) / TICKS_PER_SECOND;
        rows.add("service names", "1/s", Better::Higher, FLOOR, seen.per_second);
        let rate = seen.completed as f64 / used;
        rows.add("service names, by processor time", "1/s", Better::Higher, FLOOR, rate);
        Ok(())
    }

    /// Names nobody has asked for yet.
    fn forwarding(&self, round: u32, server: &Server<'_>, rows: &mut Rows) -> Result<()> {
        let count = MOST_FORWARDED_PER_SECOND * self.plan.seconds;
        let prefix = format!("{}-{round}", server.peer.name());
        let names = (0..count).map(|index| format!("{prefix}-{index}.example.test."));
        let names = self.write_names("unique", names)?;
        self.rate("forwarded names", &names, server, rows).map(drop)
    }

    /// Times of answers when the slowest has half of what it can do.
    fn times(&self, names: &str, servers: &[Server<'_>], rows: &mut Rows) -> Result<()> {
        let row = rows.0.iter().find(|row| row.what == "service names");
        let rates = Peer::ALL.iter().filter_map(|peer| row?.median(peer.name()));
        let half = rates.fold(f64::INFINITY, f64::min) / 2.0;
        for _ in 0..self.plan.rounds {
            for server in servers {
                let load = self.load(server, names, self.plan.seconds);
                let seen = Load { queries_per_second: Some(half), each: true, ..load }.run(self.place.node)?;
                let what = format!("p99 at {half:.0} service names a second");
                rows.add(&what, "µs", Better::Lower, server.peer.name(), seen.p99_micros);
            }
        }
        Ok(())
    }

    /// Resident memory, and its peak while everything is told anew.
    fn memory(&self, server: &Server<'_>, rows: &mut Rows) -> Result<()> {
        self.tell(server, "memory");
        server.forget_peak()?;
        let (before, _) = server.memory()?;
        for program in ["kube-apiserver", "agent"] {
            let kill = Breakage::Kill { node: self.place.node.name().to_owned(), program: program.to_owned() };
            self.place.machine.clone().break_down(&kill)?;
        }
        let marker = format!("told-anew-{}", server.peer.name());
        self.create_marker(&marker)?;
        server.wait_for(&format!("{marker}.{}.svc.cluster.local.", content::NAMESPACE))?;
        let (_, most) = server.memory()?;
        let name = server.peer.name();
        rows.add("resident memory", "MiB", Better::Lower, name, before);
        rows.add("  at most when all is told anew", "MiB", Better::Lower, name, most);
        rows.add("  to before", "×", Better::Lower, name, most / before);
        Ok(())
    }

    /// A Service that was not there before the API server was killed.
    fn create_marker(&self, name: &str) -> Result<()> {
        self.api.wait_until_ready(std::time::Duration::from_secs(60), &mut || Ok(()))?;
        Ok(self.api.apply_object(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": content::NAMESPACE },
            "spec": { "ports": [{ "port": 80 }] },
        }))?)
    }

    fn upgrade<'s>(&self, names: &str, server: Server<'s>, rows: &mut Rows) -> Result<Server<'s>> {
        let watching = self.watch(names, &server)?;
        let peer = server.peer;
        let next = server.replace();
        let seen: Asked = watching.finish()?;
        add_watched("upgrade", peer, &seen, rows);
        next
    }

    fn kill(&self, names: &str, server: &Server<'_>, rows: &mut Rows) -> Result<()> {
        let watching = self.watch(names, server)?;
        let outcome = server.kill().and_then(|()| server.wait_for(&content::full_name(0)));
        let seen: Asked = watching.finish()?;
        add_watched("kill -9", server.peer, &seen, rows);
        outcome
    }

    /// Starts clients that notice each lost answer.
    fn watch(&self, names: &str, server: &Server<'_>) -> Result<Running, BenchError> {
        let mut argv = vec!["taskset".to_owned(), "-c".to_owned(), LOAD_PROCESSOR.to_owned(), load_program()?];
        argv.extend(["lab", "load", "dns", "ask", "--names", names].map(str::to_owned));
        argv.extend(["--server".to_owned(), server.peer.address().to_string()]);
        let command = self.place.node.command(&argv);
        let failed = |reason: String| BenchError::Program { program: "seaway lab load dns ask".to_owned(), reason };
        Running::start(command.map_err(|error| failed(error.to_string()))?, "seaway lab load dns ask")
    }
}

fn add_watched(what: &str, peer: Peer, seen: &Asked, rows: &mut Rows) {
    let name = peer.name();
    rows.add(&format!("{what} under load: lost"), "count", Better::Lower, name, seen.lost as f64);
    rows.add(&format!("{what} under load: failed"), "count", Better::Lower, name, seen.failed as f64);
    rows.add(&format!("{what} under load: queries"), "count", Better::Higher, name, seen.queries as f64);
    let gap = format!("{what} under load: longest time without an answer");
    rows.add(&gap, "ms", Better::Lower, name, seen.longest_gap_millis);
}
