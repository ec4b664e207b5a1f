//! Who listens to queries, and what is kept for those who come later.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::base::Rtype;
use seaway_model::PodRef;
use seaway_model::dns_api::{LogFilter, QueryRecord};
use tokio::sync::mpsc;

use super::{Seen, filter};
use crate::wire::Name;
use crate::wire::number::rcode;
use crate::zone::Index;

/// Records that wait for one listener; what comes beyond is counted and not shown.
const MOST_WAITING: usize = 4096;

/// Failed and slow queries that are kept.
const MOST_KEPT: usize = 512;

/// Listeners at once.
pub const MOST_LISTENERS: usize = 16;

/// Takes records from all threads.
#[derive(Debug)]
pub struct Hub {
    /// An answer that took so long is slow.
    pub slow_micros: u64,
    index: Arc<Index>,
    listened_to: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    listeners: Vec<Listener>,
    kept: VecDeque<(QueryRecord, (bool, bool))>,
}

#[derive(Debug)]
struct Listener {
    filter: LogFilter,
    records: mpsc::Sender<QueryRecord>,
    missed: Arc<AtomicU64>,
}

/// What a listener gets.
#[derive(Debug)]
pub struct Listening {
    /// Queries, in order.
    pub records: mpsc::Receiver<QueryRecord>,
    /// Queries that were not shown since it was last looked at.
    pub missed: Arc<AtomicU64>,
}

// === impl Hub ===

impl Hub {
    /// Nobody listens. `index`: knows pods by address.
    #[must_use]
    pub fn new(index: Arc<Index>, slow_micros: u64) -> Self {
        Self { slow_micros, index, listened_to: AtomicBool::new(false), inner: Mutex::default() }
    }

    /// Whether somebody listens.
    #[inline]
    #[must_use]
    pub fn is_listened_to(&self) -> bool {
        self.listened_to.load(Ordering::Relaxed)
    }

    /// Listens; none when too many do.
    #[must_use]
    pub fn listen(&self, filter: LogFilter) -> Option<Listening> {
        let mut inner = self.lock();
        inner.listeners.retain(|listener| !listener.records.is_closed());
        if inner.listeners.len() >= MOST_LISTENERS {
            return None;
        }
        let (sender, records) = mpsc::channel(MOST_WAITING);
        if filter.recent {
            for (record, (failed, slow)) in &inner.kept {
                if filter::wants(&filter, record, *failed, *slow) {
                    // There is room: fewer are kept than may wait.
                    let _ = sender.try_send(record.clone());
                }
            }
        }
        let missed = Arc::new(AtomicU64::new(0));
        inner.listeners.push(Listener { filter, records: sender, missed: Arc::clone(&missed) });
        self.listened_to.store(true, Ordering::Relaxed);
        Some(Listening { records, missed })
    }

    /// Tells of one answer, and keeps it when it is worth it.
    pub fn tell(&self, seen: &Seen<'_>, (failed, slow): (bool, bool), keep: bool) {
        let Some(record) = self.record(seen) else { return };
        let mut inner = self.lock();
        for listener in &inner.listeners {
            if filter::wants(&listener.filter, &record, failed, slow)
                && let Err(mpsc::error::TrySendError::Full(_)) = listener.records.try_send(record.clone())
            {
                listener.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
        inner.listeners.retain(|listener| !listener.records.is_closed());
        self.listened_to.store(!inner.listeners.is_empty(), Ordering::Relaxed);
        if keep {
            if inner.kept.len() >= MOST_KEPT {
                inner.kept.pop_front();
            }
            inner.kept.push_back((record, (failed, slow)));
        }
    }

    /// The pod that has an address, when it is known.
    #[must_use]
    pub fn pod(&self, address: IpAddr) -> Option<PodRef> {
        self.index.pod(&address)
    }

    fn record(&self, seen: &Seen<'_>) -> Option<QueryRecord> {
        let header = seen.octets.first_chunk::<12>()?;
        let (name, kind) = match question(seen.octets) {
            Some((wire, kind)) => (text(wire), kind),
            // A response of the header alone, to what could not be read.
            None => ("?".to_owned(), 0),
        };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Some(QueryRecord {
            unix_millis: since.map_or(0, |since| since.as_millis() as u64),
            client: seen.client,
            pod: self.pod(seen.client),
            name,
            kind: Rtype::from_int(kind).to_string(),
            rcode: rcode::name(header[3]).to_owned(),
            answers: u16::from_be_bytes([header[6], header[7]]),
            way: seen.way,
            took_micros: seen.took_micros,
            upstream: seen.upstream.map(|upstream| upstream.to_string()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name in wire form, as it was sent, and the type that a response answers.
#[must_use]
pub fn question(octets: &[u8]) -> Option<(&[u8], u16)> {
    let header = octets.first_chunk::<12>()?;
    if header[4..6] != [0, 1] {
        return None;
    }
    let mut at = 12;
    while *octets.get(at)? != 0 {
        at += 1 + usize::from(*octets.get(at)?);
    }
    let kind = octets.get(at + 1..at + 3)?;
    Some((octets.get(12..=at)?, u16::from_be_bytes([*kind.first()?, *kind.last()?])))
}

/// A name in wire form as text, lower case.
#[must_use]
pub fn text(wire: &[u8]) -> String {
    let mut name = Name::root();
    match name.assign(wire) {
        Ok(()) => name.to_string(),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{Census, SAMPLE, Watch};
    use crate::zone::tests::judge;
    use seaway_model::dns_api::Way;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1));

    fn watch() -> (Arc<Hub>, Arc<Mutex<Census>>, Watch) {
        let hub = Arc::new(Hub::new(Arc::new(Index::new(judge::settings())), 1000));
        let census = Arc::new(Mutex::new(Census::default()));
        let watch = Watch::new(Arc::clone(&hub), Arc::clone(&census));
        (hub, census, watch)
    }

    fn saw(watch: &mut Watch, name: &str, code: u8, took_micros: u64) {
        let mut octets = judge::question(name, "A");
        octets[2] = 0x81;
        octets[3] = 0x80 | code;
        let (way, upstream) = (Way::Zone, Some(([10, 0, 0, 1], 53).into()));
        watch.saw(Seen { client: CLIENT, octets: &octets, took_micros, way, upstream, unix_seconds: 9 });
    }

    #[test]
    fn a_listener_hears_what_it_wants_and_how_much_it_missed() {
        let (hub, _, mut watch) = watch();
        saw(&mut watch, "before.example.", 0, 1);
        let filter = LogFilter { name: Some(".example".to_owned()), ..LogFilter::default() };
        let mut listening = hub.listen(filter).unwrap();
        saw(&mut watch, "Web.Example.", 3, 7);
        saw(&mut watch, "other.", 0, 1);
        let record = listening.records.try_recv().unwrap();
        assert_eq!(
            (record.name.as_str(), record.kind.as_str(), record.rcode.as_str()),
            ("web.example.", "A", "NXDOMAIN")
        );
        assert_eq!((record.took_micros, record.upstream.as_deref()), (7, Some("10.0.0.1:53")));
        assert!(listening.records.try_recv().is_err(), "nothing else was wanted");
        (0..MOST_WAITING + 5).for_each(|_| saw(&mut watch, "web.example.", 0, 1));
        assert_eq!(listening.missed.load(Ordering::Relaxed), 5);
        drop(listening);
        saw(&mut watch, "web.example.", 0, 1);
        assert!(!hub.is_listened_to(), "who has gone costs nothing more");
    }

    #[test]
    fn failed_and_slow_queries_are_kept_for_who_comes_later() {
        let (hub, census, mut watch) = watch();
        saw(&mut watch, "fine.example.", 0, 999);
        saw(&mut watch, "slow.example.", 0, 1000);
        (0..200).for_each(|_| saw(&mut watch, "failed.example.", 2, 1));
        let listen = |filter: LogFilter| {
            let mut listening = hub.listen(LogFilter { recent: true, ..filter }).unwrap();
            std::iter::from_fn(|| listening.records.try_recv().ok()).map(|record| record.name).collect::<Vec<_>>()
        };
        assert_eq!(listen(LogFilter { slow: true, ..LogFilter::default() }), ["slow.example."]);
        let failed = listen(LogFilter { failed: true, ..LogFilter::default() });
        assert_eq!(failed.len(), 63, "of one second not more than 64, with the slow one");
        let census = census.lock().unwrap();
        assert_eq!(census.failed.tallies()[0].count, 200, "but all are counted");
        assert_eq!(census.slow.tallies().len(), 1);
        assert_eq!(census.clients.total(), 202 / u64::from(SAMPLE) * u64::from(SAMPLE));
    }

    #[test]
    fn listeners_are_few() {
        let (hub, ..) = watch();
        let all: Vec<_> = (0..MOST_LISTENERS).map(|_| hub.listen(LogFilter::default()).unwrap()).collect();
        assert!(hub.listen(LogFilter::default()).is_none());
        drop(all);
        assert!(hub.listen(LogFilter::default()).is_some());
    }
}
