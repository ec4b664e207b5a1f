//! The program `seaway dns`: its parts put together.
//!
//! | Thread or task | Does |
//! |---|---|
//! | `dns-<n>`, one per processor | a [`crate::server::Shard`] |
//! | task `follower` | [`crate::feed::Follower`]: the agent's changes into the zone |
//! | tasks `accept`, one per address | [`crate::server::stream::Streams`] |
//! | task `admin` | metrics, health, readiness |

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_model::agent_api::AGENT_SOCKET;
use seaway_model::dns_api::DNS_SOCKET;
use seaway_runtime::admin;
use seaway_runtime::config::{DnsConfig, DnsExternalZone, DnsPods, DnsPolicy, DnsTransport, DnsUpstream};
use seaway_runtime::shutdown::CancellationToken;
use tokio::runtime::Handle;

use crate::control::{Control, Desk};
use crate::error::DnsError;
use crate::feed::Follower;
use crate::files::Files;
use crate::forward::cache::CacheLimits;
use crate::forward::{Cache, Forwarder, Group, Policy, Transport, Upstream};
use crate::handover::{self, Holder};
use crate::metrics::{self, Watched};
use crate::resolve::{Resolver, Rules};
use crate::server::clock::chance;
use crate::server::dial::Dialer;
use crate::server::limit::RateLimit;
use crate::server::secure::{SYSTEM_ROOTS, Trust};
use crate::server::socket::{Listening, host_addresses};
use crate::server::stream::Streams;
use crate::server::{Server, Shard};
use crate::standby;
use crate::views::Keeper;
use crate::watch::Hub;
use crate::wire::OwnedName;
use crate::zone::{Builder, ExternalZone, Index, PodNames, ZoneSettings};

pub(crate) mod deaths;
pub mod ready;
pub mod resolv_conf;

use deaths::Deaths;
pub use ready::probe;

/// Name of the file with the names of the cluster, in the run directory.
const STATE_FILE: &str = seaway_model::feed::NAMES_FILE;

/// Pause before the admin address is tried again.
const ADMIN_RETRY: Duration = Duration::from_millis(500);

/// A worker that lived shorter than this died young; several in a row are followed after a pause.
const WORKER_PAUSE: Duration = Duration::from_millis(500);

/// How long questions that wait for upstreams may take when the program is told to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Everything but sockets and threads.
#[derive(Debug)]
pub struct Parts {
    server: Arc<Server>,
    index: Arc<Index>,
    upstreams: Vec<Upstream>,
    groups: Vec<Group>,
    limits: CacheLimits,
    trust: Trust,
}

/// Holds the sockets and keeps a worker running, started by `worker` with the path where it
/// gets them, until `stop` is cancelled. `listen`: addresses when the configuration names none.
///
/// # Errors
/// When the configuration cannot be used, an address is taken, or no worker can be started.
pub async fn hold(
    config: DnsConfig,
    listen: Vec<IpAddr>,
    worker: impl Fn(&Path) -> tokio::process::Command,
    stop: CancellationToken,
) -> Result<(), DnsError> {
    let shards = shards(&config);
    let wanted = listening_addresses(&config, listen)?;
    // Of sockets with another address nothing is read any more; the old holder still has them.
    let mut listening: Vec<Listening> =
        handover::take_over(&config.run).into_iter().filter(|l| wanted.contains(&l.address)).collect();
    let taken = listening.len();
    for address in wanted {
        if !listening.iter().any(|listening| listening.address == address) {
            listening.push(Listening::open(address, shards.min(handover::MOST_SOCKETS - 1))?);
        }
    }
    tracing::info!(taken, addresses = listening.len(), "holding sockets");
    let holder = Holder::offer(&config.run, listening)?;
    let failed = |source| DnsError::Worker { source };
    let mut deaths = Deaths::default();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let mut child = worker(&holder.path).spawn().map_err(failed)?;
        tokio::select! {
            ended = child.wait() => {
                let status = ended.map_err(failed)?;
                tracing::error!(%status, "worker ended; starting the next");
                tokio::time::sleep(deaths.pause_after(begun.elapsed())).await;
            }
            () = stop.cancelled() => {
                end(&mut child).await;
            }
        }
    }
    Ok(())
}

/// Tells a worker to end, and waits for it.
pub(crate) async fn end(child: &mut tokio::process::Child) {
    // It heard the same signal if it came from a terminal; twice does no harm.
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    let _ = tokio::time::timeout(DRAIN * 2, child.wait()).await;
}

/// Serves with the sockets of the holder at `path` until `stop` is cancelled.
///
/// # Errors
/// When there is no holder, the configuration cannot be used, or the kernel gives no threads.
pub async fn work(config: DnsConfig, path: &Path, stop: CancellationToken) -> Result<(), DnsError> {
    let held = handover::take_watched(path)?;
    let failed = |source| DnsError::Handover { path: path.to_owned(), source };
    let spare = held.listening.iter().map(Listening::duplicate).collect::<std::io::Result<_>>().map_err(failed)?;
    tokio::spawn(standby::outlive(config.clone(), spare, held.life, stop.clone()));
    let (listening, shards) = (held.listening, shards(&config));
    serve(config, listening, shards, stop).await
}

/// Serves with sockets that are open.
///
/// # Errors
/// As [`hold`].
pub async fn serve(
    config: DnsConfig,
    listening: Vec<Listening>,
    shards: usize,
    stop: CancellationToken,
) -> Result<(), DnsError> {
    serve_filled(config, listening, shards, stop, |_| {}).await
}

/// Serves names that `fill` tells, besides those of the agent: for load tests without a cluster.
///
/// # Errors
/// As [`hold`].
pub async fn serve_filled(
    config: DnsConfig,
    listening: Vec<Listening>,
    shards: usize,
    stop: CancellationToken,
    fill: impl FnOnce(&mut Builder),
) -> Result<(), DnsError> {
    let own: Vec<SocketAddr> = listening.iter().map(|listening| listening.address).collect();
    let parts = parts(&config, &own)?;
    let socket = config.run.join(AGENT_SOCKET.rsplit('/').next().unwrap_or_default());
    let state = config.run.join(STATE_FILE);
    let mut builder = Builder::new(Arc::clone(&parts.index));
    fill(&mut builder);
    let keeper = Keeper::new(Arc::clone(&parts.server.resolver.views), own.clone());
    let mut follower = Follower::new(socket, state, builder, keeper, files(&config)?);
    follower.restore();
    follower.look_at_files().await;
    let feed = follower.status();
    let following = tokio::spawn(follower.run(stop.clone()));

    let Started { threads, desks, mut counters, mut censuses, streams } =
        start_shards(&config, &parts, listening, shards, &stop)?;
    let streams_server = Streams::new(Arc::clone(&parts.server), desks.clone());
    counters.push(streams_server.counters());
    censuses.push(streams_server.census());
    let tls = config.plain.tls.as_ref().map(crate::server::secure::acceptor).transpose()?;
    for (address, listener) in streams {
        let failed = |source| DnsError::Listen { address, source };
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        tokio::spawn(Arc::clone(&streams_server).accept(listener, None, stop.clone()));
        if let Some(tls) = &tls {
            let address = SocketAddr::new(address.ip(), config.plain.tls_port);
            let failed = |source| DnsError::Listen { address, source };
            let listener = crate::server::socket::stream(address)?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            tokio::spawn(Arc::clone(&streams_server).accept(listener, Some(tls.clone()), stop.clone()));
        }
    }
    let server = Arc::clone(&parts.server);
    let watched = Arc::new(Watched { server, feed: Arc::clone(&feed), counters, censuses: censuses.clone() });
    let (upstreams, groups) = (parts.upstreams.clone(), parts.groups.clone());
    let desk =
        Desk { server: Arc::clone(&parts.server), shards: desks, upstreams, groups, censuses, since: Instant::now() };
    open_control(&config.run.join(DNS_SOCKET.rsplit('/').next().unwrap_or_default()), desk, &stop);
    tracing::info!(addresses = ?own, shards, domain = %parts.index.settings.domain, "serving DNS");
    let unready_after = Some(config.plain.unready_after_seconds).filter(|seconds| *seconds > 0);
    let unready_after = unready_after.map(|seconds| Duration::from_secs(seconds.into()));
    tokio::spawn(ready::tell(Arc::clone(&parts.server), Arc::clone(&feed), unready_after, stop.clone()));
    tokio::spawn(serve_admin(config.plain.admin, watched, stop.clone()));
    stop.cancelled().await;
    let _ = following.await;
    let join = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
    let _ = join.await;
    Ok(())
}

/// Serves metrics as soon as the address is free: during an update the server before has it.
async fn serve_admin(address: SocketAddr, watched: Arc<Watched>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let registry = metrics::registry(Arc::clone(&watched));
        match admin::bind(address, Arc::clone(&watched) as _, registry).await {
            Ok(admin) => {
                if let Err(error) = admin.serve(stop.clone()).await {
                    tracing::warn!(%error, "metrics are not served");
                }
            }
            Err(error) => tracing::debug!(%error, "metrics are not served yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(ADMIN_RETRY) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Listens for operators; DNS works without.
fn open_control(path: &Path, desk: Desk, stop: &CancellationToken) {
    match Control::open(path) {
        Ok(control) => {
            tokio::spawn(control.serve(Arc::new(desk), stop.clone()));
        }
        Err(error) => tracing::warn!(%error, "operators cannot ask this server"),
    }
}

#[derive(Default)]
struct Started {
    threads: Vec<std::thread::JoinHandle<()>>,
    desks: Vec<crate::server::ShardDesk>,
    counters: Vec<Arc<crate::server::Counters>>,
    censuses: Vec<Arc<std::sync::Mutex<crate::watch::Census>>>,
    streams: Vec<(SocketAddr, std::net::TcpListener)>,
}

fn start_shards(
    config: &DnsConfig,
    parts: &Parts,
    listening: Vec<Listening>,
    shards: usize,
    stop: &CancellationToken,
) -> Result<Started, DnsError> {
    let mut sockets: Vec<Vec<std::net::UdpSocket>> = (0..shards).map(|_| Vec::new()).collect();
    let mut started = Started::default();
    for listening in listening {
        for (number, socket) in listening.datagrams.into_iter().enumerate() {
            // All sockets of a reuse-port group must be read, also when there are more than shards.
            if let Some(sockets) = sockets.get_mut(number % shards.max(1)) {
                sockets.push(socket);
            }
        }
        started.streams.push((listening.address, listening.stream));
    }
    // All shards share its connections.
    let dialer = Dialer::new(Handle::current(), parts.trust.clone());
    for (number, sockets) in sockets.into_iter().enumerate() {
        let failed = |source| DnsError::Thread { source };
        let forwarder = Forwarder::new(parts.upstreams.clone(), parts.groups.clone(), parts.limits, chance());
        let per_second = config.plain.queries_per_second_per_client;
        // The kernel spreads a client's sockets over the shards: each may take its share twice.
        let limit = RateLimit::new(per_second.saturating_mul(2) / shards as u32, per_second);
        let shard = Shard::new(Arc::clone(&parts.server), sockets, forwarder, dialer.clone(), limit).map_err(failed)?;
        started.desks.push(shard.desk());
        started.counters.push(shard.counters());
        started.censuses.push(shard.census());
        let stop = stop.clone();
        let thread = std::thread::Builder::new().name(format!("dns-{number}"));
        started.threads.push(thread.spawn(move || shard.run(&stop, DRAIN)).map_err(failed)?);
    }
    Ok(started)
}

/// Threads that answer: one per processor that this process may use (affinity and quota).
#[must_use]
pub fn shards(config: &DnsConfig) -> usize {
    match usize::from(config.plain.threads) {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

fn listening_addresses(config: &DnsConfig, given: Vec<IpAddr>) -> Result<Vec<SocketAddr>, DnsError> {
    let named = if config.plain.listen.is_empty() { given } else { config.plain.listen.clone() };
    let mut addresses = Vec::new();
    for address in named {
        if address.is_unspecified() {
            addresses.extend(host_addresses()?.into_iter().filter(|found| found.is_ipv4() == address.is_ipv4()));
        } else {
            addresses.push(address);
        }
    }
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        let why = "names no address: give --listen or dns.listen";
        return Err(DnsError::Configuration { field: "dns.listen", value: "[]".to_owned(), why });
    }
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, config.plain.port)).collect())
}

fn parts(config: &DnsConfig, own: &[SocketAddr]) -> Result<Parts, DnsError> {
    let plain = &config.plain;
    let index = Arc::new(Index::new(ZoneSettings {
        domain: name("dns.domain", &plain.domain)?,
        ttl_seconds: plain.ttl_seconds,
        pods: match plain.pods {
            DnsPods::Disabled => PodNames::Disabled,
            DnsPods::Insecure => PodNames::Insecure,
            DnsPods::Verified => PodNames::Verified,
        },
        endpoint_pod_names: plain.endpoint_pod_names,
        servers: if plain.service_addresses.is_empty() {
            own.iter().map(SocketAddr::ip).collect()
        } else {
            plain.service_addresses.clone()
        },
        cluster_set: match plain.cluster_set_domain.as_str() {
            "" => None,
            domain => Some(name("dns.clusterSetDomain", domain)?),
        },
        external: plain.external_zones.iter().map(external_zone).collect::<Result<_, _>>()?,
    }));
    let limits = CacheLimits {
        octets: plain.cache.max_bytes,
        positive_seconds: plain.cache.max_ttl_seconds,
        negative_seconds: plain.cache.max_negative_ttl_seconds,
        stale_seconds: plain.cache.serve_stale_seconds,
    };
    let (upstreams, groups, stubs, default_group) = upstreams(config, own)?;
    let hosts =
        plain.hosts.iter().map(|(text, addresses)| Ok((name("dns.hosts", text)?.wire().into(), addresses.clone())));
    let rules = Rules {
        search: plain.search,
        hosts: hosts.collect::<Result<HashMap<_, _>, DnsError>>()?,
        hosts_ttl_seconds: plain.ttl_seconds,
        stubs,
        default_group,
    };
    let roots = plain
        .trusted_roots
        .clone()
        .or_else(|| Some(SYSTEM_ROOTS.into()).filter(|path: &std::path::PathBuf| path.exists()));
    let trust = Trust::load(roots.as_deref())?;
    let resolver = Resolver { index: Arc::clone(&index), cache: Cache::new(limits), rules, views: Arc::default() };
    let mut server = Server::new(resolver);
    server.allowed = plain.allowed_clients.clone();
    server.hub = Arc::new(Hub::new(Arc::clone(&index), u64::from(plain.slow_milliseconds) * 1000));
    Ok(Parts { server: Arc::new(server), index, upstreams, groups, limits, trust })
}

/// Zones and block lists in files.
fn files(config: &DnsConfig) -> Result<Files, DnsError> {
    let zones = config.plain.zone_files.iter();
    let zones = zones.map(|(apex, path)| Ok((name("dns.zoneFiles", apex)?, path.clone())));
    Ok(Files::new(zones.collect::<Result<_, DnsError>>()?, config.plain.block_files.clone()))
}

type Groups = (Vec<Upstream>, Vec<Group>, Vec<(OwnedName, usize)>, Option<usize>);

fn upstreams(config: &DnsConfig, own: &[SocketAddr]) -> Result<Groups, DnsError> {
    let policy = match config.plain.policy {
        DnsPolicy::Random => Policy::Random,
        DnsPolicy::RoundRobin => Policy::RoundRobin,
        DnsPolicy::Sequential => Policy::Sequential,
    };
    let mut all: Vec<Upstream> = Vec::new();
    let mut groups = Vec::new();
    let mut group = |wanted: Vec<Upstream>| {
        // Asking ourselves would be a loop.
        let wanted: Vec<Upstream> = wanted.into_iter().filter(|upstream| !own.contains(&upstream.address)).collect();
        if wanted.is_empty() {
            return None;
        }
        let first = all.len();
        all.extend(wanted);
        groups.push(Group { upstreams: (first..all.len()).collect(), policy });
        Some(groups.len() - 1)
    };
    let default = if config.upstreams.is_empty() {
        resolv_conf::name_servers().into_iter().map(|address| Upstream::new(address, Transport::Udp)).collect()
    } else {
        config.upstreams.iter().map(upstream).collect()
    };
    let default_group = group(default);
    let mut stubs = Vec::new();
    for (domain, texts) in &config.stub_domains {
        if let Some(number) = group(texts.iter().map(upstream).collect()) {
            stubs.push((name("dns.stubDomains", domain)?, number));
        }
    }
    Ok((all, groups, stubs, default_group))
}

fn upstream(configured: &DnsUpstream) -> Upstream {
    let transport = match &configured.transport {
        DnsTransport::Udp => Transport::Udp,
        DnsTransport::Tcp => Transport::Tcp,
        DnsTransport::Tls(name) => Transport::Tls(name.clone()),
        DnsTransport::Https { name, path } => Transport::Https { name: name.clone(), path: path.clone() },
    };
    Upstream::new(configured.address, transport)
}

fn external_zone(configured: &DnsExternalZone) -> Result<ExternalZone, DnsError> {
    let DnsExternalZone { name: domain, headless, fall_through } = configured;
    let name = name("dns.externalZones", domain)?;
    Ok(ExternalZone { name, headless: *headless, fall_through: *fall_through })
}

fn name(field: &'static str, text: &str) -> Result<OwnedName, DnsError> {
    let why = "is no domain name";
    OwnedName::parse(text).map_err(|_| DnsError::Configuration { field, value: text.to_owned(), why })
}
