//! Whether this server is ready: a file in a directory that no other container sees says so, for on
//! the port the server that is replaced would answer for the new one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_runtime::shutdown::CancellationToken;

use crate::feed::FeedStatus;
use crate::server::Server;

/// The file.
const READY_FILE: &str = "/run/seaway-dns/ready";

/// Pauses between looks: before it was ready for the first time, and after.
const FIRST_CHECK: Duration = Duration::from_millis(20);
const CHECK: Duration = Duration::from_secs(1);

/// Decides from what is seen.
#[derive(Debug)]
struct Readiness {
    /// How long the agent may be away; none: for ever.
    unready_after: Option<Duration>,
    away_since: Option<Instant>,
}

/// Whether the server of this container is ready.
#[must_use]
pub fn probe() -> bool {
    Path::new(READY_FILE).exists()
}

/// Says so while it is: once everything is known, and, when `unready_after` is set, until the agent
/// was away for that long.
pub async fn tell(
    server: Arc<Server>,
    feed: Arc<FeedStatus>,
    unready_after: Option<Duration>,
    stop: CancellationToken,
) {
    let mut readiness = Readiness { unready_after, away_since: None };
    let mut said = false;
    while !stop.is_cancelled() {
        let now = Instant::now();
        // With a file that cannot be used an update stops here, and the servers before it stay.
        let known = server.resolver.index.is_synced() && server.resolver.views.unusable_files() == 0;
        let ready = readiness.is_ready(known, feed.is_connected(), now);
        feed.set_lost(readiness.is_lost(now));
        if ready != said {
            said = ready;
            say(ready);
            if ready && unready_after.is_none() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if said { CHECK } else { FIRST_CHECK }) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn say(ready: bool) {
    let path = Path::new(READY_FILE);
    if !path.parent().is_some_and(Path::is_dir) {
        return;
    }
    let said = if ready { std::fs::write(path, "") } else { std::fs::remove_file(path) };
    if let Err(error) = said {
        tracing::warn!(%error, path = READY_FILE, ready, "cannot say whether DNS is ready");
    }
}

impl Readiness {
    fn is_ready(&mut self, synced: bool, connected: bool, now: Instant) -> bool {
        self.away_since = if connected { None } else { self.away_since.or(Some(now)) };
        synced && !self.is_lost(now)
    }

    /// The agent was away for too long.
    fn is_lost(&self, now: Instant) -> bool {
        match (self.unready_after, self.away_since) {
            (Some(limit), Some(since)) => now.saturating_duration_since(since) >= limit,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness(seconds: Option<u64>) -> (Readiness, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let readiness = Readiness { unready_after: seconds.map(Duration::from_secs), away_since: None };
        (readiness, move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_server_is_ready_once_everything_is_known_and_stays_so_without_its_agent() {
        let (mut readiness, at) = readiness(None);
        assert!(!readiness.is_ready(false, true, at(0)));
        assert!(readiness.is_ready(true, true, at(1)));
        assert!(readiness.is_ready(true, false, at(100_000)));
    }

    #[test]
    fn readiness_goes_down_when_the_agent_is_lost_if_that_is_asked_for() {
        let (mut readiness, at) = readiness(Some(60));
        assert!(readiness.is_ready(true, true, at(0)));
        assert!(readiness.is_ready(true, false, at(10)));
        assert!(readiness.is_ready(true, false, at(69)));
        assert!(!readiness.is_ready(true, false, at(70)));
        assert!(readiness.is_ready(true, true, at(71)), "it is back");
        assert!(readiness.is_ready(true, false, at(100)), "and the time counts anew");
    }
}
