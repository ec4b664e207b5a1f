//! The thread that owns the data path and the state. It takes one message at a
//! time, lets [`State::decide`] think, carries out what was decided, and feeds
//! each outcome back before the next message. Kernel work blocks, which is why
//! this is a thread and no task; everything else is handed to tasks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seaway_datapath::{Datapath, PodLink};
use seaway_model::agent_api::{Answer, AttachmentKey, DropEvent, Failure, NodeStatus, Request};
use seaway_model::{Diagnose, InterfaceName, Snapshot};
use seaway_routing::plan::{NetworkPlan, Underlay};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::decide::{Action, Input, RequestId, State};
use crate::error::{AgentError, agent_failure, datapath_failure};
use crate::metrics::AgentMetrics;
use crate::work::{ApiWork, Records};

/// How often drop events are fetched, at least; also the granularity of timers.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// Ticks between two looks at timers of the state.
const TICKS_PER_TIMER: u32 = 4;
/// Ticks between two readings of the kernel's counters.
const TICKS_PER_COUNTERS: u32 = 20;
/// Drop events kept for a slow reader of the stream before it misses some.
pub(crate) const DROPS_KEPT: usize = 4096;

/// Something for the owner.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request from the socket.
    Request(Question),
    /// The watch has a new snapshot; the newest is taken, whatever their number.
    SnapshotChanged,
    /// An outcome from a task.
    Input(Input),
    /// [`TICK`] passed.
    Tick,
    /// The daemon ends; the kernel is left as it is.
    Stop,
}

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) namespace: Option<OwnedFd>,
    pub(crate) reply: oneshot::Sender<Answer>,
    pub(crate) received: Instant,
}

/// What of the host the owner needs besides the data path.
pub trait Host: Send {
    /// The device that holds one of these addresses.
    ///
    /// # Errors
    /// No device does, or the kernel does not say.
    fn underlay(&mut self, addresses: &[std::net::IpAddr]) -> Result<Underlay, Failure>;

    /// MTU in bytes of the way to each address for which a router has told a smaller one.
    ///
    /// # Errors
    /// The kernel does not say.
    fn path_mtus(&mut self) -> Result<BTreeMap<IpAddr, u32>, Failure>;

    /// Whether an interface of this name exists on the node.
    fn link_exists(&mut self, name: &InterfaceName) -> bool;

    /// Writes the CNI configuration; returns what is wrong with it nevertheless.
    ///
    /// # Errors
    /// It could not be written.
    fn write_configuration(&mut self) -> Result<Vec<Failure>, Failure>;
}

/// What others may see of the owner's state, published after each message.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) status: NodeStatus,
    /// What keeps new pods from this node; empty: ready.
    pub(crate) blocking: Vec<String>,
    /// When the owner was last seen working.
    pub(crate) at: Instant,
}

/// The owner's ends of all channels.
pub(crate) struct Ends {
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) work: mpsc::Sender<ApiWork>,
    pub(crate) records: watch::Sender<Records>,
    pub(crate) drops: broadcast::Sender<DropEvent>,
    pub(crate) published: Arc<Mutex<Published>>,
}

/// The owner.
pub(crate) struct Owner {
    state: State,
    datapath: Box<dyn Datapath>,
    host: Box<dyn Host>,
    metrics: AgentMetrics,
    ends: Ends,
    started: Instant,
    waiting: HashMap<RequestId, Waiting>,
    next_request: RequestId,
    ticks: u32,
    next_audit: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct Waiting {
    verb: &'static str,
    namespace: Option<OwnedFd>,
    reply: oneshot::Sender<Answer>,
    received: Instant,
}

// === impl Owner ===

impl Owner {
    pub(crate) fn new(
        state: State,
        datapath: Box<dyn Datapath>,
        host: Box<dyn Host>,
        metrics: AgentMetrics,
        ends: Ends,
        audit_interval: Option<Duration>,
    ) -> Owner {
        let started = Instant::now();
        Owner {
            state,
            datapath,
            host,
            metrics,
            ends,
            started,
            waiting: HashMap::new(),
            next_request: 1,
            ticks: 0,
            next_audit: audit_interval.map(|interval| (started + interval, interval)),
        }
    }

    /// Takes up what the kernel holds, before anything else.
    pub(crate) fn adopt(&mut self) -> Result<(), seaway_datapath::DatapathError> {
        let links = self.datapath.adopt()?;
        tracing::info!(links = links.len(), "took up what the kernel holds");
        self.take(Input::Adopted(links));
        self.publish();
        Ok(())
    }

    /// Works until told to stop, or until nobody can send messages any more.
    pub(crate) fn run(mut self) {
        while let Some(message) = self.ends.inbox.blocking_recv() {
            match message {
                Message::Stop => break,
                Message::Tick => self.tick(),
                Message::SnapshotChanged => {
                    let snapshot = Arc::clone(&self.ends.snapshots.borrow_and_update());
                    // Generation 0 is the empty one before everything was listed.
                    if snapshot.generation > 0 {
                        self.take(Input::Snapshot(snapshot));
                    }
                }
                Message::Input(input) => self.take(input),
                Message::Request(question) => self.question(question),
            }
            if self.ends.inbox.is_empty() {
                self.publish();
            }
        }
        for (_, waiting) in self.waiting.drain() {
            // A client that is gone needs no answer.
            let _ = waiting.reply.send(Answer::Failed(agent_failure(&AgentError::Stopping)));
        }
        tracing::info!("left the data path as it is");
    }

    fn question(&mut self, question: Question) {
        let id = self.next_request;
        self.next_request += 1;
        let with_namespace = question.namespace.is_some();
        let waiting = Waiting {
            verb: verb_name(&question.request),
            namespace: question.namespace,
            reply: question.reply,
            received: question.received,
        };
        self.waiting.insert(id, waiting);
        self.take(Input::Request { id, request: question.request, with_namespace });
    }

    fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        self.drain_drops();
        if self.ticks.is_multiple_of(TICKS_PER_TIMER) {
            self.take(Input::Tick);
        }
        if self.ticks.is_multiple_of(TICKS_PER_COUNTERS) {
            match self.datapath.counters() {
                Ok(counters) => self.metrics.counters(&counters),
                Err(error) => tracing::warn!(error = %error, id = %error.id(), "cannot read counters"),
            }
        }
        if let Some((at, interval)) = self.next_audit
            && Instant::now() >= at
        {
            self.next_audit = Some((Instant::now() + interval, interval));
            self.take(Input::AuditDue);
        }
    }

    fn drain_drops(&mut self) {
        let (state, drops) = (&self.state, &self.ends.drops);
        let listened = drops.receiver_count() > 0;
        let outcome = self.datapath.drain_events(&mut |event| {
            // Nobody listens: the kernel's counters have it, and that is enough.
            if listened {
                let _ = drops.send(state.describe_drop(event));
            }
        });
        if let Err(error) = outcome {
            tracing::warn!(error = %error, id = %error.id(), "cannot read drop events");
        }
    }

    /// Decides about an input and about all that follows from it.
    fn take(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.state.decide(input, self.started.elapsed()) {
                inputs.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::FindUnderlay { addresses } => {
                self.datapath.set_node_addresses(&addresses);
                Some(Input::Underlay(self.host.underlay(&addresses)))
            }
            Action::FindPathMtus => Some(Input::PathMtus(self.host.path_mtus())),
            Action::Attach { id, link } => Some(self.attach(id, &link)),
            Action::Check { id, link } => Some(Input::Checked { id, outcome: self.check(id, &link) }),
            Action::Detach { id, keys } => Some(self.detach(id, keys)),
            Action::FindDead { id, candidates } => {
                let dead = candidates.into_iter().filter(|(_, name)| !self.host.link_exists(name));
                let keys: Vec<AttachmentKey> = dead.map(|(key, _)| key).collect();
                Some(Input::Dead { id, keys })
            }
            Action::Apply { plan, generation } => {
                let outcome = self.apply(&plan, generation);
                Some(Input::Applied { generation, outcome })
            }
            Action::Audit { id, plan } => Some(self.audit(id, &plan)),
            Action::ClaimBlock { claim, candidates } => self
                .hand_over(ApiWork::Claim { claim: claim.clone(), candidates })
                .map(|failure| Input::Claimed { claim, outcome: Err(failure), taken: Vec::new() }),
            Action::ReleaseBlock(block) => {
                self.hand_over(ApiWork::Release(block)).map(|failure| Input::Released { block, outcome: Err(failure) })
            }
            Action::Record(records) => {
                self.ends.records.send_modify(|kept| kept.extend(records));
                None
            }
            Action::Announce(announcement) => {
                tracing::warn!(reason = announcement.reason, "{}", announcement.note);
                // An event that is lost for want of room is in the log.
                self.hand_over(ApiWork::Announce(announcement));
                None
            }
            Action::BecomeReady => Some(self.become_ready()),
            Action::Reply { id, answer } => {
                self.answer(id, answer);
                None
            }
        }
    }

    fn attach(&mut self, id: RequestId, link: &PodLink) -> Input {
        let namespace = self.waiting.get(&id).and_then(|waiting| waiting.namespace.as_ref());
        let outcome = match namespace {
            Some(namespace) => {
                self.datapath.attach_pod(namespace.as_fd(), link).map_err(|error| datapath_failure(&error))
            }
            None => Err(agent_failure(&AgentError::NamespaceMissing { key: link.key.clone() })),
        };
        Input::Attached { id, key: link.key.clone(), outcome }
    }

    fn check(&mut self, id: RequestId, link: &PodLink) -> Result<(), Failure> {
        match self.waiting.get(&id).and_then(|waiting| waiting.namespace.as_ref()) {
            Some(namespace) => {
                self.datapath.check_pod(namespace.as_fd(), link).map_err(|error| datapath_failure(&error))
            }
            None => Err(agent_failure(&AgentError::NamespaceMissing { key: link.key.clone() })),
        }
    }

    fn detach(&mut self, id: Option<RequestId>, keys: Vec<AttachmentKey>) -> Input {
        let namespace = id.and_then(|id| self.waiting.get(&id)).and_then(|waiting| waiting.namespace.as_ref());
        let mut outcomes = Vec::new();
        for key in keys {
            let outcome = self.datapath.detach_pod(&key, namespace.map(AsFd::as_fd));
            if let Err(error) = &outcome {
                tracing::warn!(container = %key.container_id, id = %error.id(), error = %error, "cannot detach");
            }
            outcomes.push((key, outcome.map_err(|error| datapath_failure(&error))));
        }
        Input::Detached { id, outcomes }
    }

    /// Returns what became of XDP.
    fn apply(&mut self, plan: &NetworkPlan, generation: u64) -> Result<Option<String>, Failure> {
        let begun = Instant::now();
        let outcome = self.datapath.apply(plan);
        let took = begun.elapsed();
        self.metrics.applied(outcome.is_ok(), took);
        match outcome {
            Ok(report) => {
                tracing::info!(generation, operations = report.operations.len(), took_micros = micros(took), "applied");
                for operation in &report.operations {
                    tracing::debug!(generation, "{operation}");
                }
                Ok(report.xdp)
            }
            Err(error) => {
                tracing::error!(generation, id = %error.id(), error = %error, fix = error.fix(), "cannot apply");
                Err(datapath_failure(&error))
            }
        }
    }

    fn audit(&mut self, id: Option<RequestId>, plan: &NetworkPlan) -> Input {
        let outcome = self.datapath.audit(plan);
        match &outcome {
            Ok(differences) => {
                self.metrics.differences(differences.len());
                for difference in differences {
                    tracing::warn!(cause = difference.cause, "repaired: {}", difference.what);
                }
            }
            Err(error) => tracing::error!(id = %error.id(), error = %error, fix = error.fix(), "audit failed"),
        }
        Input::Audited { id, outcome: outcome.map_err(|error| datapath_failure(&error)) }
    }

    fn become_ready(&mut self) -> Input {
        let outcome = self.host.write_configuration();
        match &outcome {
            Ok(warnings) => {
                for warning in warnings {
                    tracing::warn!(id = warning.id, fix = warning.fix, "{}", warning.message);
                }
                tracing::info!("ready for pods");
                self.hand_over(ApiWork::NodeReady);
            }
            Err(failure) => tracing::error!(id = failure.id, fix = failure.fix, "{}", failure.message),
        }
        Input::Written(outcome)
    }

    /// Never waits: the API may be slow, and the kernel has work.
    fn hand_over(&self, work: ApiWork) -> Option<Failure> {
        let refused = self.ends.work.try_send(work).err()?;
        tracing::warn!("work for the API server is piling up: {refused}");
        Some(agent_failure(&AgentError::NotReady { waiting_for: "the API server to take earlier work" }))
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        let took = waiting.received.elapsed();
        let success = !matches!(answer, Answer::Failed(_));
        self.metrics.request(waiting.verb, success, took);
        if let Answer::Failed(failure) = &answer {
            tracing::warn!(verb = waiting.verb, id = failure.id, took_micros = micros(took), "{}", failure.message);
        } else {
            tracing::debug!(verb = waiting.verb, took_micros = micros(took), "answered");
        }
        // A client that is gone needs no answer; the runtime sends DEL for it.
        let _ = waiting.reply.send(answer);
    }

    fn publish(&self) {
        let now = self.started.elapsed();
        let (status, blocking) = (self.state.node_status(now), self.state.blocking_problems(now));
        self.metrics.status(&status, blocking.is_empty());
        let published = Published { status, blocking, at: Instant::now() };
        *self.ends.published.lock().unwrap_or_else(PoisonError::into_inner) = published;
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn verb_name(request: &Request) -> &'static str {
    match request {
        Request::Add(_) => "add",
        Request::Delete(_) => "del",
        Request::Check(_) => "check",
        Request::Status => "status",
        Request::GarbageCollect { .. } => "gc",
        Request::NodeStatus => "node_status",
        Request::Endpoints => "endpoints",
        Request::Audit => "audit",
        Request::Monitor => "monitor",
        Request::Follow { .. } => "follow",
        Request::Services { .. } => "services",
    }
}
