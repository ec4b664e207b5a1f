//! The agent without the API server: owner, socket, timers. [`crate::run`]
//! joins it to a cluster; tests join it to whatever they like.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use seaway_datapath::Datapath;
use seaway_model::agent_api::{Answer, NodeStatus, Request};
use seaway_model::feed::Interest;
use seaway_model::{NameChange, PodChange, ServiceChange, Snapshot};
use seaway_runtime::Introspect;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::decide::{Input, Settings, State};
use crate::error::agent_failure;
use crate::feed::Feed;
use crate::io::server::Desk;
use crate::io::{configuration, deletions, lock, server};
use crate::metrics::AgentMetrics;
use crate::owner::{DROPS_KEPT, Ends, Host, Message, Owner, Published, Question, TICK};
use crate::services::{ServiceNotices, ServiceParts, Services};
use crate::work::{ApiWork, Records};

/// Messages that wait for the owner. Senders wait when it is full, and the
/// clients of the socket with them: nothing is lost.
const INBOX_DEPTH: usize = 1024;
/// Wishes that wait for the API server. The owner never waits: what does not
/// fit is refused, and decided again later.
const WORK_DEPTH: usize = 256;
/// Silence of the owner after which only a restart helps. The longest honest
/// piece of work is an audit of a large node.
const OWNER_SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// What a core is made of.
pub struct Parts {
    /// What the agent decides from.
    pub settings: Settings,
    /// The node's data path.
    pub datapath: Box<dyn Datapath>,
    /// The rest of the host.
    pub host: Box<dyn Host>,
    /// Directory of the socket, the lock and kept deletions.
    pub run_directory: PathBuf,
    /// Pause between two audits; none: only on request.
    pub audit_interval: Option<Duration>,
    /// How Services are served; none: by somebody else.
    pub services: Option<ServiceParts>,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// What the outside may say to a core.
#[derive(Clone)]
pub struct Handle {
    feed: Feed,
    services: Option<Services>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    inbox: mpsc::Sender<Message>,
}

/// A running core. Dropping it ends the owner and leaves the data path as it is.
pub struct Core {
    handle: Handle,
    published: Arc<Mutex<Published>>,
    shutdown: CancellationToken,
    owner: Option<JoinHandle<()>>,
    server: Option<tokio::task::JoinHandle<()>>,
    registry: Option<Registry>,
    _lock: File,
}

/// What the core wants of the API server.
pub struct Wishes {
    /// Things to do; outcomes go to [`Handle::outcome`].
    pub work: mpsc::Receiver<ApiWork>,
    /// What pods hold, to be written down.
    pub records: watch::Sender<Records>,
}

/// Tells the admin server and tests how the agent is.
#[derive(Clone)]
pub struct Vitals(Arc<Mutex<Published>>);

// === impl Core ===

impl Core {
    /// Starts: lock, owner with what the kernel holds, socket, deletions kept
    /// meanwhile, and only then the first request. Call it in a tokio runtime.
    ///
    /// # Errors
    /// Another agent runs, the socket cannot be listened on, or the kernel
    /// cannot be read.
    pub async fn start(parts: Parts, shutdown: CancellationToken) -> Result<(Core, Wishes), AgentError> {
        let lock = lock::take(&parts.run_directory)?;
        let metrics = AgentMetrics::new();
        let mut registry = parts.registry;
        metrics.register(&mut registry);
        let (inbox, messages) = mpsc::channel(INBOX_DEPTH);
        let (snapshots, newest) = watch::channel(Arc::new(Snapshot::default()));
        let (work, wishes) = mpsc::channel(WORK_DEPTH);
        let (records, _) = watch::channel(Records::new());
        let (drops, _) = broadcast::channel(DROPS_KEPT);
        let feed = Feed::new(parts.settings.node.clone());
        let services = match parts.services {
            Some(services) => Some(Services::start(services, parts.settings.clone(), &mut registry, &shutdown)?),
            None => None,
        };
        let state = State::new(parts.settings);
        let published = Published {
            status: state.node_status(Duration::ZERO),
            blocking: state.blocking_problems(Duration::ZERO),
            at: Instant::now(),
        };
        let published = Arc::new(Mutex::new(published));
        let ends = Ends {
            inbox: messages,
            snapshots: newest,
            work,
            records: records.clone(),
            drops: drops.clone(),
            published: Arc::clone(&published),
        };
        let owner = Owner::new(state, parts.datapath, parts.host, metrics.clone(), ends, parts.audit_interval);
        let owner = start_owner(owner).await?;
        let mut core = Core {
            handle: Handle { feed: feed.clone(), services: services.clone(), snapshots, inbox: inbox.clone() },
            published,
            shutdown: shutdown.clone(),
            owner: Some(owner),
            server: None,
            registry: Some(registry),
            _lock: lock,
        };
        let listener = server::listen(&parts.run_directory.join("agent.sock"))?;
        core.carry_out_kept_deletions(&parts.run_directory).await;
        let services = services.as_ref().map(Services::handle);
        let desk = Desk { inbox: inbox.clone(), drops, metrics, feed, services };
        core.server = Some(tokio::spawn(server::serve(listener, desk, shutdown.clone())));
        tokio::spawn(tick(inbox, shutdown));
        Ok((core, Wishes { work: wishes, records }))
    }

    /// For whoever watches the cluster and carries out wishes.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// For the admin server.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals(Arc::clone(&self.published))
    }

    /// The metrics, once.
    pub(crate) fn take_registry(&mut self) -> Registry {
        self.registry.take().unwrap_or_default()
    }

    /// Ends the owner after what it is doing now, and waits for it and for the socket to close.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = self.handle.inbox.send(Message::Stop).await;
        if let Some(owner) = self.owner.take() {
            // Joining blocks; a panic of the owner was logged by its thread.
            let _ = tokio::task::spawn_blocking(move || owner.join()).await;
        }
        // Nobody can connect from here on.
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
    }

    async fn carry_out_kept_deletions(&self, run_directory: &std::path::Path) {
        for kept in deletions::read(run_directory) {
            let outcome = match kept.request {
                Ok(request) => self.handle.ask(request).await,
                Err(error) => Answer::Failed(agent_failure(&error)),
            };
            match outcome {
                Answer::Failed(failure) => {
                    tracing::error!(id = failure.id, fix = failure.fix, "kept deletion: {}", failure.message);
                }
                _ => tracing::info!(file = %kept.path.display(), "carried out a deletion kept by the plugin"),
            }
            // Also after a failure: what is left over is found by audit and leak check.
            if let Err(error) = configuration::remove(&kept.path) {
                tracing::warn!("{error}");
            }
        }
    }
}

// === impl Handle ===

impl Handle {
    /// Hands the owner a new snapshot.
    pub async fn snapshot(&self, snapshot: Arc<Snapshot>) {
        self.feed.snapshot(&snapshot);
        if let Some(services) = &self.services {
            services.snapshot(&snapshot).await;
        }
        self.snapshots.send_replace(snapshot);
        // The owner is gone only when the daemon ends.
        let _ = self.inbox.send(Message::SnapshotChanged).await;
    }

    /// Hands on what the watch of Services told.
    pub async fn service_changes(&self, changes: Vec<ServiceChange>) {
        self.feed.services(&changes);
        if let Some(services) = &self.services {
            services.changes(changes).await;
        }
    }

    /// What followers of the feed ask for beside what it always tells.
    pub(crate) fn demand(&self) -> watch::Receiver<Interest> {
        self.feed.demand()
    }

    /// Forgets what no follower asks for any more, and tells what they ask for.
    pub(crate) fn forget_unwanted(&self) -> Interest {
        self.feed.forget_unwanted()
    }

    /// Hands on what the watch of all pods told.
    pub fn pod_changes(&self, changes: Vec<PodChange>) {
        self.feed.pods(changes);
    }

    /// A watch of imports, Gateways and routes begins.
    pub fn begin_names(&self, watched: Interest) {
        self.feed.begin_names(watched);
    }

    /// Hands on what that watch told.
    pub fn name_changes(&self, changes: Vec<NameChange>) {
        self.feed.names(changes);
    }

    /// Hands on all `DNSConfig` objects.
    pub async fn dns_configs(&self, configs: &std::collections::BTreeMap<String, Arc<seaway_model::DnsSpec>>) {
        self.feed.dns_configs(configs);
    }

    /// Ranges of Service addresses, as the API has them.
    pub async fn service_cidrs(&self, cidrs: Vec<ipnet::IpNet>) {
        if let Some(services) = &self.services {
            services.service_cidrs(cidrs).await;
        }
    }

    /// What the Services' side wants to be told to people, once.
    #[must_use]
    pub fn service_notices(&self) -> Option<ServiceNotices> {
        self.services.as_ref().and_then(Services::take_notices)
    }

    /// Hands the owner the outcome of a wish.
    pub async fn outcome(&self, input: Input) {
        let _ = self.inbox.send(Message::Input(input)).await;
    }

    /// Asks as a client of the socket would.
    pub async fn ask(&self, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        let question = Question { request, namespace: None, reply, received: Instant::now() };
        let sent = self.inbox.send(Message::Request(question)).await;
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer,
            _ => Answer::Failed(agent_failure(&AgentError::Stopping)),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shutdown.cancel();
        // When full, the owner ends with the last sender instead.
        let _ = self.handle.inbox.try_send(Message::Stop);
    }
}

async fn start_owner(mut owner: Owner) -> Result<JoinHandle<()>, AgentError> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("owner".into()).spawn(move || {
        let adopted = owner.adopt().map_err(|error| AgentError::start(&error));
        let go = adopted.is_ok();
        if tell.send(adopted).is_ok() && go {
            owner.run();
        }
    });
    let thread = thread.map_err(|error| AgentError::Owner { problem: error.to_string() })?;
    let gone = |_| AgentError::Owner { problem: "it ended while it took up what the kernel holds".into() };
    told.await.map_err(gone)??;
    Ok(thread)
}

/// Skips a tick when the owner has enough to do.
async fn tick(inbox: mpsc::Sender<Message>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {
                if let Err(mpsc::error::TrySendError::Closed(_)) = inbox.try_send(Message::Tick) {
                    return;
                }
            }
        }
    }
}

// === impl Vitals ===

impl Vitals {
    /// The agent's own status, as of its last message.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }
}

impl Introspect for Vitals {
    fn fatal_problems(&self) -> Vec<String> {
        let silence = self.0.lock().unwrap_or_else(PoisonError::into_inner).at.elapsed();
        if silence <= OWNER_SILENCE_LIMIT {
            return Vec::new();
        }
        vec![AgentError::Owner { problem: format!("no sign of life for {} s", silence.as_secs()) }.to_string()]
    }

    fn problems(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking.clone()
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.status()).unwrap_or_default()
    }
}
