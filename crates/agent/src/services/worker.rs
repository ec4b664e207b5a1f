//! The thread that owns the table of Services and their data path.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seaway_datapath::services::{Refusal, ServiceReport};
use seaway_datapath::{DatapathError, ServiceDatapath};
use seaway_model::agent_api::{Failure, ServiceQuestion};
use seaway_model::{Diagnose, ServiceChange};
use seaway_services::ServiceTable;
use seaway_services::plan::PlanChange;
use tokio::sync::{mpsc, oneshot, watch};

use super::audits::Audits;
use super::census::Census;
use super::facts::Facts;
use super::health::{HealthPorts, NodeHealth};
use super::metrics::ServiceMetrics;
use super::programming::Programming;
use super::questions;
use crate::AgentError;
use crate::error::{agent_failure, datapath_failure};

/// Messages that wait for the thread; senders wait when it is full.
const INBOX_DEPTH: usize = 1024;
/// How often timers are looked at when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// Pause before a batch that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often what does not fit is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// How often the tables' sizes are read.
const USAGE_PAUSE: Duration = Duration::from_secs(15);

/// Something for the thread.
pub(crate) enum Message {
    /// The watch told this, at that moment.
    Changes(Vec<ServiceChange>, Instant),
    /// The node is like this now.
    Facts(Box<Facts>),
    /// Somebody asks.
    Ask(ServiceQuestion, oneshot::Sender<Result<serde_json::Value, Failure>>),
    /// Compare the kernel with what was applied; what differed is the answer.
    Audit(oneshot::Sender<Result<Vec<String>, Failure>>),
}

/// What the thread tells others.
pub(crate) struct Outputs {
    /// Health check ports.
    pub(crate) health_ports: watch::Sender<Arc<HealthPorts>>,
    /// The node's own health.
    pub(crate) health: NodeHealth,
    /// Services that do not fit, once each.
    pub(crate) refusals: mpsc::UnboundedSender<Refusal>,
    /// What is wrong now.
    pub(crate) troubles: watch::Sender<Vec<Failure>>,
}

/// The thread's inbox. When the last one is gone the thread ends, and the kernel stays as it is.
#[derive(Clone)]
pub(crate) struct ServicesHandle {
    inbox: mpsc::Sender<Message>,
}

struct Worker {
    table: ServiceTable,
    datapath: Box<dyn ServiceDatapath>,
    metrics: ServiceMetrics,
    outputs: Outputs,
    programming: Programming,
    census: Census,
    /// Nothing goes to the kernel before it knows the node.
    facts: Option<Box<Facts>>,
    /// The kernel does not hold these facts yet.
    facts_due: bool,
    heard_all: bool,
    cleaned_up: bool,
    waiting_since: Option<Instant>,
    /// Of slices not in the kernel yet, in milliseconds since 1970.
    slices_changed_at: Vec<i64>,
    trouble: Option<Failure>,
    retry_at: Option<Instant>,
    audit_interval: Option<Duration>,
    audits: Audits,
    refused_at: Instant,
    usage_at: Instant,
}

/// Starts the thread.
///
/// # Errors
/// The system has no room for another thread.
pub(crate) fn start(
    table: ServiceTable,
    datapath: Box<dyn ServiceDatapath>,
    metrics: ServiceMetrics,
    outputs: Outputs,
    audit_interval: Option<Duration>,
) -> std::io::Result<ServicesHandle> {
    let (inbox, messages) = mpsc::channel(INBOX_DEPTH);
    let now = Instant::now();
    let worker = Worker {
        table,
        datapath,
        metrics,
        outputs,
        programming: Programming::default(),
        census: Census::default(),
        facts: None,
        facts_due: false,
        heard_all: false,
        cleaned_up: false,
        waiting_since: None,
        slices_changed_at: Vec::new(),
        trouble: None,
        retry_at: None,
        audit_interval,
        audits: Audits::new(now),
        refused_at: now,
        usage_at: now,
    };
    std::thread::Builder::new().name("services".into()).spawn(move || worker.run(messages))?;
    Ok(ServicesHandle { inbox })
}

// === impl ServicesHandle ===

impl ServicesHandle {
    /// Hands the thread something; waits while it has too much to do.
    pub(super) async fn send(&self, message: Message) {
        // The thread is gone only when the daemon ends.
        let _ = self.inbox.send(message).await;
    }

    /// Asks a question.
    pub(crate) async fn ask(&self, question: ServiceQuestion) -> Result<serde_json::Value, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask(question, reply)).await;
        answer.await.unwrap_or_else(|_| Err(agent_failure(&AgentError::Stopping)))
    }

    /// Compares the kernel with what was applied, repairs, and says what differed.
    pub(crate) async fn audit(&self) -> Result<Vec<String>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Audit(reply)).await;
        answer.await.unwrap_or_else(|_| Err(agent_failure(&AgentError::Stopping)))
    }
}

// === impl Worker ===

impl Worker {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let Ok(timers) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
            tracing::error!("no timers for the thread of Services");
            return;
        };
        loop {
            // Between the parts of an audit, what has come meanwhile goes first.
            let patience = if self.audits.is_under_way() { Duration::ZERO } else { TICK };
            let first = timers.block_on(async { tokio::time::timeout(patience, messages.recv()).await });
            let mut next = match first {
                Ok(None) => return,
                Ok(Some(message)) => Some(message),
                Err(_) => None,
            };
            // What came meanwhile is one batch: a burst costs one round to the kernel.
            while let Some(message) = next {
                self.take(message);
                next = messages.try_recv().ok();
            }
            self.timers();
            self.program();
            self.audits.go_on(self.datapath.as_mut());
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Changes(changes, heard) => self.take_changes(&changes, heard),
            Message::Facts(facts) => self.take_facts(facts),
            Message::Ask(question, reply) => {
                // What was heard before the question is in the answer.
                self.program();
                let _ = reply.send(questions::answer(&question, &self.table, self.facts.as_deref()));
            }
            Message::Audit(reply) => {
                self.program();
                self.audits.ask(reply, Instant::now());
            }
        }
    }

    fn take_changes(&mut self, changes: &[ServiceChange], heard: Instant) {
        let slices = changes.iter().filter(|change| matches!(change, ServiceChange::Slice { .. })).count();
        let services = changes.iter().filter(|change| matches!(change, ServiceChange::Service { .. })).count();
        self.metrics.heard(services as u64, slices as u64);
        self.heard_all |= changes.iter().any(|change| matches!(change, ServiceChange::Synced));
        if self.cleaned_up {
            let changed_at = changes.iter().filter_map(|change| match change {
                ServiceChange::Slice { now: Some(slice), .. } => slice.changed_at_milliseconds,
                _ => None,
            });
            self.slices_changed_at.extend(changed_at);
        }
        let plans = self.table.apply(changes);
        if !plans.is_empty() {
            self.waiting_since.get_or_insert(heard);
            self.plan(plans);
        }
    }

    fn take_facts(&mut self, facts: Box<Facts>) {
        self.outputs.health.leaving(facts.leaving);
        if self.facts.as_ref().is_some_and(|known| **known == *facts) {
            return;
        }
        let plans = self.table.set_node(facts.view.clone());
        self.plan(plans);
        self.facts_due |= self.facts.as_ref().is_none_or(|known| known.node != facts.node);
        self.facts = Some(facts);
    }

    fn plan(&mut self, plans: Vec<PlanChange>) {
        if self.census.add(&plans) {
            self.outputs.health_ports.send_replace(Arc::new(self.census.ports().clone()));
        }
        self.programming.add(plans);
    }

    fn timers(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.refused_at) >= REFUSED_PAUSE {
            self.refused_at = now;
            self.programming.retry_refused();
        }
        if now.duration_since(self.usage_at) >= USAGE_PAUSE {
            self.usage_at = now;
            match self.datapath.usage() {
                Ok(usage) => self.metrics.usage(&usage),
                Err(error) => {
                    tracing::warn!(id = %error.id(), "cannot read how full the tables of Services are: {error}")
                }
            }
        }
        if self.cleaned_up && self.audit_interval.is_some_and(|pause| self.audits.idle_for(now) >= pause) {
            self.audits.start(now);
        }
        self.outputs.health.waiting(self.waiting_since);
    }

    /// Brings what is due into the kernel.
    fn program(&mut self) {
        let Some(facts) = &self.facts else { return };
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        if self.facts_due {
            let outcome = self.datapath.set_node(&facts.node);
            if let Err(error) = outcome {
                return self.failed(&error);
            }
            self.facts_due = false;
        }
        if !self.programming.is_empty() {
            let started = Instant::now();
            match self.datapath.apply(&self.programming.batch()) {
                Ok(report) => self.programmed(report, started),
                Err(error) => return self.failed(&error),
            }
        }
        if self.heard_all && !self.cleaned_up {
            match self.datapath.synced() {
                Ok(report) => {
                    tracing::info!(
                        services = self.census.services(),
                        writes = report.writes,
                        "Services are programmed"
                    );
                    self.cleaned_up = true;
                    // What the first list left free.
                    seaway_datapath::memory::return_unused();
                    self.outputs.health.synced();
                }
                Err(error) => return self.failed(&error),
            }
        }
        self.retry_at = None;
        self.tell_trouble(None);
    }

    fn programmed(&mut self, report: ServiceReport, started: Instant) {
        let took = started.elapsed();
        let waited = self.waiting_since.take().map(|since| since.elapsed());
        self.metrics.programmed(took, waited, !self.cleaned_up);
        self.metrics.closed(report.closed_connections, report.closing);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for changed_at in self.slices_changed_at.drain(..) {
            let changed_at = Duration::from_millis(u64::try_from(changed_at).unwrap_or_default());
            self.metrics.network_programmed(now.saturating_sub(changed_at));
        }
        tracing::debug!(
            took_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            writes = report.writes,
            "programmed Services"
        );
        let outcome = self.programming.done(report.refused);
        for refusal in outcome.newly_refused {
            // The receiver ends with the daemon.
            let _ = self.outputs.refusals.send(refusal);
        }
        let refused = self.programming.refusals().count();
        self.metrics.totals(self.census.services(), refused, self.census.no_local());
    }

    fn failed(&mut self, error: &DatapathError) {
        tracing::error!(id = %error.id(), fix = error.fix(), "cannot program Services: {error}");
        self.metrics.failed();
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
        self.tell_trouble(Some(datapath_failure(error)));
    }

    fn tell_trouble(&mut self, trouble: Option<Failure>) {
        if self.trouble != trouble {
            self.trouble.clone_from(&trouble);
            self.outputs.troubles.send_replace(trouble.into_iter().collect());
        }
    }
}
