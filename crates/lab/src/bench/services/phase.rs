//! One peer at one number of Services: from nothing to everything programmed,
//! connections, changes of one endpoint, memory, a restart under use.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::DIRECT;
use super::content::{self, frontend, probes};
use super::packets;
use super::peer::{Peer, Switch};
use crate::bench::error::BenchError;
use crate::bench::load::{Connections, Pairs, Reached, Steady, unix_nanos};
use crate::bench::pods::{self, Pod};
use crate::bench::report::{Better, Rows};
use crate::cluster::ClusterError;
use crate::cluster::api::{ApiClient, Kind, Scope};
use crate::cluster::files::kubeconfig_of;
use crate::cluster::progress::Progress;
use crate::error::{IoContext, Result};
use crate::spec::BackendChoice;

const ENDPOINT_SLICE: Kind = Kind { api_version: "discovery.k8s.io/v1", kind: "EndpointSlice" };
/// kube-proxy rests one second between two rounds of programming (`minSyncPeriod`):
/// changes further apart are programmed at once.
const CHANGE_PAUSE: Duration = Duration::from_secs(2);
/// How exactly the moment of a change is seen.
const CHANGE_LOOK_MICROS: u64 = 200;
/// How often frontends are asked while everything is programmed.
const START_LOOK_MICROS: u64 = 5_000;

/// How often the kernel is looked at while a peer cleans up.
const CLEANUP_LOOK: Duration = Duration::from_millis(100);

/// Names of a phase's backends. The first is behind all probes; the second takes over in changes.
const BACKENDS: [&str; 2] = ["first", "second"];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) rounds: u32,
    pub(super) connections: u32,
    pub(super) changes: u32,
    pub(super) patience: Duration,
}

/// One turn.
#[derive(Debug)]
pub(super) struct Phase<'a> {
    pub(super) switch: &'a Switch<'a>,
    pub(super) client: &'a Pod<'a>,
    pub(super) plan: Plan,
    pub(super) peer: Peer,
    pub(super) size: u32,
    /// Its direct connections are those of the report's own column.
    pub(super) with_direct: bool,
    pub(super) with_memory: bool,
    pub(super) with_restart: bool,
}

/// A phase with its backends. Each phase has its own: what the kernel remembers of connections to
/// those of the phase before would send new ones another way.
struct Turn<'a> {
    phase: &'a Phase<'a>,
    backends: [&'a Pod<'a>; 2],
}

impl<'a> std::ops::Deref for Turn<'a> {
    type Target = Phase<'a>;

    fn deref(&self) -> &Phase<'a> {
        self.phase
    }
}

// === impl Phase ===

impl Phase<'_> {
    /// Measures; says whether the peer kept within patience.
    pub(super) fn run(&self, rows: &mut Rows, progress: &Progress) -> Result<bool> {
        self.tell(progress, "starts");
        let names = self.backend_names();
        let node = self.switch.node;
        let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), node)).collect();
        let pods = pods::start(self.switch.api, &wanted)?;
        let [first, second] = pods.as_slice() else { return Ok(false) };
        let servers = [first.serve_whoami()?, second.serve_whoami()?];
        let goes_on = Turn { phase: self, backends: [first, second] }.run(rows, progress);
        drop(servers);
        goes_on
    }

    /// Removes the pods of the phase.
    pub(super) fn remove_backends(&self) -> Result<()> {
        for name in self.backend_names() {
            self.switch.api.delete(&format!("/api/v1/namespaces/default/pods/{name}"))?;
        }
        Ok(())
    }

    fn backend_names(&self) -> [String; 2] {
        BACKENDS.map(|place| format!("{place}-{}-{}", self.peer.name().replace(' ', "-"), self.size))
    }

    fn of_size(&self) -> String {
        format!("{} Services", self.size)
    }

    fn tell(&self, progress: &Progress, what: &str) {
        progress.passing(&format!("{}, {}: {what}", self.of_size(), self.peer.name()));
    }
}

// === impl Turn ===

impl Turn<'_> {
    fn run(&self, rows: &mut Rows, progress: &Progress) -> Result<bool> {
        self.set_backend(0..probes(self.size), self.first())?;
        self.wait_until_unserved()?;
        let started = self.switch.on(self.peer)?;
        let reached = self.reach(0..probes(self.size), self.first(), self.plan.patience)?;
        let what = format!("cold start, {}", self.of_size());
        if !self.add_start(&what, started, probes(self.size), reached, rows) {
            return Ok(false);
        }
        // Attempts made too early have left untranslated connections, whose ports are used again.
        self.switch.node.exec(&["conntrack", "-F"])?;
        for round in 1..=self.plan.rounds {
            self.tell(progress, &format!("connections, round {round}"));
            self.connections(rows)?;
        }
        self.changes(rows, progress)?;
        // The next peer finds the first backend everywhere.
        self.set_backend(0..1, self.first())?;
        if self.with_memory {
            let (now, most) = self.switch.memory(self.peer)?;
            rows.add(&format!("resident memory, {}", self.of_size()), "MiB", Better::Lower, self.peer.name(), now);
            rows.add(&format!("  at most, {}", self.of_size()), "MiB", Better::Lower, self.peer.name(), most);
        }
        if self.with_restart && self.peer == Peer::Seaway(BackendChoice::Ebpf) {
            self.tell(progress, "single packets");
            self.packets(rows)?;
        }
        if self.with_restart && self.size > 1 {
            self.tell(progress, "restart");
            self.restart(rows)?;
        }
        Ok(true)
    }

    /// Whoever was switched off may need a moment to clean up.
    fn wait_until_unserved(&self) -> Result<()> {
        let give_up = Instant::now() + self.plan.patience;
        while self.reach(0..1, self.first(), Duration::ZERO)?.frontends > 0 {
            if Instant::now() > give_up {
                let reason = "somebody serves Services before it starts".to_owned();
                return Err(BenchError::Program { program: self.peer.name().to_owned(), reason }.into());
            }
            std::thread::sleep(CLEANUP_LOOK);
        }
        Ok(())
    }

    fn first(&self) -> IpAddr {
        self.backends[0].address()
    }

    fn second(&self) -> IpAddr {
        self.backends[1].address()
    }

    /// Adds the time from the start of a process until all its frontends were right.
    fn add_start(&self, what: &str, started: u64, wanted: u32, reached: Reached, rows: &mut Rows) -> bool {
        if reached.frontends < wanted as usize {
            rows.add_above(what, "s", self.peer.name(), self.plan.patience.as_secs_f64());
            return false;
        }
        let seconds = Duration::from_nanos(reached.last_nanos.saturating_sub(started)).as_secs_f64();
        rows.add(what, "s", Better::Lower, self.peer.name(), seconds);
        true
    }

    fn connections(&self, rows: &mut Rows) -> Result<()> {
        // Not the Services' own backend: one client port may serve both sides, and what leads to
        // the same place from the same port is one connection to connection tracking.
        let direct = self.backends[1].server();
        let arguments = [
            "pairs",
            "--direct",
            &direct.to_string(),
            "--services",
            &addresses(0..probes(self.size)),
            "--count",
            &self.plan.connections.to_string(),
        ]
        .map(str::to_owned);
        let seen: Pairs = self.client.run(&arguments)?;
        let name = self.peer.name();
        let failed = format!("  connections failed, {}", self.of_size());
        rows.add(&failed, "count", Better::Lower, name, f64::from(seen.service.failures));
        if self.with_direct {
            rows.add(&failed, "count", Better::Lower, DIRECT, f64::from(seen.direct.failures));
        }
        let (direct, service) = (figures(&seen.direct), figures(&seen.service));
        for ((what, unit, better, direct), (_, _, _, service)) in direct.into_iter().zip(service) {
            let of = self.of_size();
            rows.add(&format!("{what}, {of}"), unit, better, name, service);
            if self.with_direct {
                rows.add(&format!("{what}, {of}"), unit, better, DIRECT, direct);
            }
            rows.add(&format!("  to direct beside it, {what}, {of}"), "×", better, name, service / direct);
        }
        Ok(())
    }

    fn packets(&self, rows: &mut Rows) -> Result<()> {
        let costs = packets::measure(self.switch.node, self.client.address(), self.first())?;
        let (name, of) = (self.peer.name(), self.of_size());
        for (what, nanos) in costs.nanos {
            rows.add(&format!("packet in BPF, {what}, {of}"), "ns", Better::Lower, name, nanos);
        }
        let what = "  the program's instructions";
        rows.add(what, "count", Better::Lower, name, costs.program_instructions);
        Ok(())
    }

    fn changes(&self, rows: &mut Rows, progress: &Progress) -> Result<()> {
        let before = self.switch.programming(self.peer)?;
        for change in 1..=self.plan.changes {
            self.tell(progress, &format!("change {change} of one endpoint"));
            let backend = if change % 2 == 1 { self.second() } else { self.first() };
            self.change(backend, rows)?;
        }
        if let Some(millis) = self.switch.programming(self.peer)?.mean_millis_since(&before) {
            let what = format!("  of it in the kernel's tables, mean, {}", self.of_size());
            rows.add(&what, "ms", Better::Lower, self.peer.name(), millis);
        }
        Ok(())
    }

    /// Exchanges the backend of the first Service and sees when clients meet the new one.
    fn change(&self, backend: IpAddr, rows: &mut Rows) -> Result<()> {
        std::thread::sleep(CHANGE_PAUSE);
        let (listening, listens) = mpsc::channel();
        let (heard, reached) = std::thread::scope(|scope| {
            let watching = scope.spawn(move || self.hear(backend, &listening));
            // The watch has seen the old state: an error shows when it is joined.
            let _ = listens.recv();
            let looking = self.client.begin(&reach_arguments(0..1, backend, CHANGE_LOOK_MICROS, self.plan.patience))?;
            self.set_backend(0..1, backend)?;
            let heard = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok::<_, crate::error::LabError>((heard, looking.finish::<Reached>()?))
        })?;
        let name = self.peer.name();
        let what = format!("one endpoint changed, from watch event to packets, {}", self.of_size());
        if reached.frontends == 0 {
            rows.add_above(&what, "ms", name, self.plan.patience.as_secs_f64() * 1_000.0);
        } else {
            let millis = (reached.last_nanos as f64 - heard as f64) / 1e6;
            rows.add(&what, "ms", Better::Lower, name, millis);
        }
        Ok(())
    }

    /// When a watch of our own, in the node's network like the peers', told of the change.
    fn hear(&self, backend: IpAddr, listening: &mpsc::Sender<()>) -> Result<u64> {
        let path = self.switch.node.path(kubeconfig_of("admin"));
        let kubeconfig = std::fs::read_to_string(&path).on_file("read", &path)?;
        let hear = || self.hear_through(&ApiClient::new(&kubeconfig)?, backend, listening);
        Ok(self.switch.node.run_in(hear)??)
    }

    fn hear_through(
        &self,
        api: &ApiClient,
        backend: IpAddr,
        listening: &mpsc::Sender<()>,
    ) -> Result<u64, ClusterError> {
        let label = content::slice_label(0);
        let scope = Scope { namespace: Some(content::NAMESPACE), labels: Some(&label) };
        let fine = &mut || Ok::<(), ClusterError>(());
        let wanted = backend.to_string();
        api.watch_until("the change is heard", ENDPOINT_SLICE, scope, self.plan.patience, fine, |slices| {
            let now = unix_nanos();
            let is_new = slices.values().any(|slice| {
                slice.pointer("/endpoints/0/addresses/0").and_then(|address| address.as_str()) == Some(&wanted)
            });
            // Nobody listens any more when this is not the first answer.
            let _ = listening.send(());
            if is_new { Ok(now) } else { Err("the old endpoint is still there".to_owned()) }
        })
    }

    /// Ends the process, changes half of the probes' backends, starts it anew while clients use the other half.
    fn restart(&self, rows: &mut Rows) -> Result<()> {
        let all = probes(self.size);
        let (changed, kept) = (0..all / 2, all / 2..all);
        let steady = ["steady", "--services", &addresses(kept)].map(str::to_owned);
        let steady = self.client.begin(&steady)?;
        let outcome = self.restart_and_see(changed.clone());
        let steady: Steady = steady.finish()?;
        let (started, reached) = outcome?;
        self.set_backend(changed.clone(), self.first())?;
        let what = format!("restart until changes made meanwhile are in, {}", self.of_size());
        self.add_start(&what, started, changed.end, reached, rows);
        let name = self.peer.name();
        let failures = format!("  connections failed meanwhile, {}", self.of_size());
        rows.add(&failures, "count", Better::Lower, name, steady.failures as f64);
        let of = format!("  of, {}", self.of_size());
        rows.add(&of, "count", Better::Higher, name, steady.attempts as f64);
        let gap = format!("  longest time without a connection, {}", self.of_size());
        rows.add(&gap, "ms", Better::Lower, name, steady.longest_gap_millis);
        Ok(())
    }

    fn restart_and_see(&self, changed: std::ops::Range<u32>) -> Result<(u64, Reached)> {
        self.switch.pause(self.peer)?;
        self.set_backend(changed.clone(), self.second())?;
        let started = self.switch.resume(self.peer)?;
        Ok((started, self.reach(changed, self.second(), self.plan.patience)?))
    }

    fn set_backend(&self, indices: std::ops::Range<u32>, backend: IpAddr) -> Result<()> {
        let patch = json!({ "endpoints": content::endpoints(&[backend]) });
        let patches = indices.map(|index| (content::slice_path(index), patch.clone()));
        Ok(self.switch.api.merge_all(patches)?)
    }

    fn reach(&self, indices: std::ops::Range<u32>, backend: IpAddr, patience: Duration) -> Result<Reached> {
        let running = self.client.begin(&reach_arguments(indices, backend, START_LOOK_MICROS, patience))?;
        Ok(running.finish()?)
    }
}

fn figures(side: &Connections) -> [(&'static str, &'static str, Better, f64); 3] {
    [
        ("first packet p50", "µs", Better::Lower, side.first_packet.median_micros),
        ("first packet p99", "µs", Better::Lower, side.first_packet.p99_micros),
        ("connect/request/response", "1/s", Better::Higher, side.transaction.transactions_per_second),
    ]
}

fn addresses(indices: std::ops::Range<u32>) -> String {
    let addresses: Vec<String> = indices.map(frontend).map(|address: SocketAddr| address.to_string()).collect();
    addresses.join(",")
}

fn reach_arguments(
    indices: std::ops::Range<u32>,
    backend: IpAddr,
    pause_micros: u64,
    patience: Duration,
) -> Vec<String> {
    [
        "reach",
        "--services",
        &addresses(indices),
        "--expect",
        &backend.to_string(),
        "--pause-micros",
        &pause_micros.to_string(),
        "--seconds",
        &patience.as_secs().to_string(),
    ]
    .map(str::to_owned)
    .into()
}
