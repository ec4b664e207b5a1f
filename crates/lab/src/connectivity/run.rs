//! Carrying out the plan: threads inside network namespaces.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{TestPod, Topology};
use super::{Check, Outcome, Place, probe};
use crate::cluster::ClusterError;
use crate::error::Result;
use crate::machine::{Machine, ProcessId, in_network_of, pod_processes};

/// Checks tried at the same time from one place: lost packets are waited for
/// together, and 25 places still are no load.
const THREADS_PER_PLACE: usize = 8;

/// The listener behind the router that tells everybody whom it sees.
#[derive(Debug)]
pub struct OutsideListener {
    listeners: Arc<Vec<TcpListener>>,
}

// === impl OutsideListener ===

impl OutsideListener {
    /// Opens one socket per address of the outside.
    ///
    /// # Errors
    /// The outside is gone, or has no free port.
    pub fn open(machine: &Machine) -> Result<Self> {
        let outside = machine.outside();
        let addresses = outside.addresses();
        let bind = || addresses.iter().map(|address| TcpListener::bind((*address, 0))).collect::<std::io::Result<_>>();
        let listeners: Vec<TcpListener> = outside
            .run_in(bind)?
            .map_err(|error| ClusterError::TestSetup { reason: format!("cannot listen outside: {error}") })?;
        let listeners: Arc<Vec<TcpListener>> = Arc::new(listeners);
        for index in 0..listeners.len() {
            let listeners = Arc::clone(&listeners);
            // Ends with `close`.
            std::thread::spawn(move || listeners.get(index).map(Self::answer));
        }
        Ok(Self { listeners })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Answers until [`Self::close`].
    fn answer(listener: &TcpListener) {
        while let Ok((mut stream, peer)) = listener.accept() {
            // A client that has gone is that client's finding.
            let _ = write!(stream, "{}", peer.ip().to_canonical());
        }
    }
}

impl Drop for OutsideListener {
    fn drop(&mut self) {
        for listener in self.listeners.iter() {
            // Wakes up accept(2); fails only when closed already.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }
}

/// Carries out all checks; outcomes in the order of the checks.
///
/// # Errors
/// A place cannot be entered at all.
pub fn run(machine: &Machine, topology: &Topology, checks: Vec<Check>) -> Result<Vec<Outcome>> {
    let mut places: BTreeMap<Place, Vec<(usize, Check)>> = BTreeMap::new();
    for (index, check) in checks.into_iter().enumerate() {
        places.entry(check.from.clone()).or_default().push((index, check));
    }
    let mut outcomes = std::thread::scope(|scope| {
        let running: Vec<_> = places
            .into_iter()
            .map(|(place, checks)| scope.spawn(move || run_at(machine, topology, &place, checks)))
            .collect();
        running
            .into_iter()
            .map(|place| place.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<Vec<_>>>>()
    })?
    .concat();
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn run_at(
    machine: &Machine,
    topology: &Topology,
    place: &Place,
    checks: Vec<(usize, Check)>,
) -> Result<Vec<(usize, Outcome)>> {
    let process = match place {
        Place::Pod { node, pod } => {
            let pod = topology.pods.iter().find(|one| one.name == *pod);
            match pod.and_then(|pod| pod_process(machine, node, pod)) {
                Some(process) => Ok(process),
                None => Err("the test pod has no process".to_owned()),
            }
        }
        Place::Node { node } => machine.node(node)?.init().map_err(|error| error.to_string()),
        Place::Outside => machine.outside().init().map_err(|error| error.to_string()),
    };
    match process {
        Ok(process) => in_network_of(process, &place.to_string(), || try_all(checks)),
        // A powered-off node is a finding, not the end of the test.
        Err(reason) => Ok(checks
            .into_iter()
            .map(|(index, check)| (index, Outcome { check, result: Err(reason.clone()) }))
            .collect()),
    }
}

/// Threads started here are in the namespaces of the thread that starts them.
fn try_all(checks: Vec<(usize, Check)>) -> Vec<(usize, Outcome)> {
    let waiting = Mutex::new(VecDeque::from(checks));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS_PER_PLACE)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    while let Some((index, check)) = next() {
                        let result = probe::try_check(&check);
                        done.push((index, Outcome { check, result }));
                    }
                    done
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn pod_process(machine: &Machine, node: &str, pod: &TestPod) -> Option<ProcessId> {
    pod_processes(machine.dir().name(), node, &pod.uid).ok()?.first().copied()
}
