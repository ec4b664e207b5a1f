//! The watches themselves: one stream per kind, each object reduced to the model as it arrives.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::core::v1 as core;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use seaway_model::{Namespace, NodeName};

use super::PodScope;
use super::store::{Change, Update};
use crate::cluster::SILENCE_LIMIT;
use crate::resources::{IPBlock, IPPool};
use crate::{Cluster, convert};

/// What all watches say, in the order it came.
pub(super) type Changes = SelectAll<BoxStream<'static, Change>>;

pub(super) fn changes(cluster: &Cluster, pods: &PodScope) -> Changes {
    let client = || cluster.client.clone();
    let everything = watcher::Config::default;
    let mut all = SelectAll::new();
    let nodes = watcher(Api::<core::Node>::all(client()), everything());
    all.push(stream(nodes, Change::Node, |node| (NodeName::from(node.name_any()), convert::node(&node))));
    let namespaces = watcher(Api::<PartialObjectMeta<core::Namespace>>::all(client()), everything());
    all.push(stream(namespaces, Change::Namespace, |namespace: PartialObjectMeta<core::Namespace>| {
        (namespace.name_any(), Namespace { labels: namespace.labels().clone() })
    }));
    let pools = watcher(Api::<IPPool>::all(client()), everything());
    all.push(stream(pools, Change::Pool, |pool| (pool.name_any(), convert::pool(&pool))));
    let blocks = watcher(Api::<IPBlock>::all(client()), everything());
    all.push(stream(blocks, Change::Block, |block| (block.name_any(), convert::block(&block))));
    let selected = match pods {
        PodScope::None => None,
        PodScope::All => Some(everything()),
        PodScope::OfNode(node) => Some(everything().fields(&format!("spec.nodeName={node}"))),
    };
    if let Some(selected) = selected {
        let pods = watcher(Api::<core::Pod>::all(client()), selected);
        all.push(stream(pods, Change::Pod, |pod| convert::pod(&pod)));
    }
    all
}

/// What one watch says, with failures told and the watch tried again after a pause.
pub(super) fn stream<T, K, V, C>(
    events: impl futures::Stream<Item = Result<Event<T>, watcher::Error>> + Send + 'static,
    kind: fn(Update<K, V>) -> C,
    reduce: fn(T) -> (K, V),
) -> BoxStream<'static, C>
where
    T: Debug + Send + 'static,
    K: Send + 'static,
    V: Send + 'static,
    C: 'static,
{
    let update = move |event: Result<Event<T>, watcher::Error>| match event {
        Ok(Event::Init) => Some(Update::Begin),
        Ok(Event::InitDone) => Some(Update::End),
        Ok(Event::InitApply(object)) => {
            let (key, value) = reduce(object);
            Some(Update::Listed(key, value))
        }
        Ok(Event::Apply(object)) => {
            let (key, value) = reduce(object);
            Some(Update::Set(key, value))
        }
        Ok(Event::Delete(object)) => Some(Update::Delete(reduce(object).0)),
        // A connection that broke, or was idle for too long. The watch goes on where it was;
        // that it cannot is another error.
        Err(error @ watcher::Error::WatchFailed(_)) => {
            tracing::debug!(%error, "a watch is taken up again");
            None
        }
        Err(error) => Some(Update::Failed(describe(&error))),
    };
    let updates = events
        .backoff(ResetTimerBackoff::new(Pauses { next: Pauses::FIRST }, CALM))
        .filter_map(move |event| std::future::ready(update(event)))
        .boxed();
    resumed(updates, LONGEST_ATTEMPT).map(kind).boxed()
}

/// Says when a watch that failed works again though nothing changes: nobody else does. A failing
/// one says so again after each attempt.
fn resumed<K: 'static, V: 'static>(
    updates: BoxStream<'static, Update<K, V>>,
    longest_attempt: Duration,
) -> impl futures::Stream<Item = Update<K, V>> {
    futures::stream::unfold((updates, false), move |(mut updates, failing)| async move {
        let update = if failing {
            match tokio::time::timeout(longest_attempt, updates.next()).await {
                Ok(update) => update?,
                Err(_) => Update::Resumed,
            }
        } else {
            updates.next().await?
        };
        // An attempt begins with good news, which proves nothing yet.
        let failing = match update {
            Update::Failed(_) => true,
            Update::Begin => failing,
            _ => false,
        };
        Some((update, (updates, failing)))
    })
}

/// Without failures for that long the pauses start anew. (Every attempt begins with a good event, so
/// a good event alone proves nothing.)
const CALM: Duration = Duration::from_secs(15);

/// The longest that an attempt takes to fail: the pause before it, and then a server that takes
/// the connection and says nothing.
const LONGEST_ATTEMPT: Duration = SILENCE_LIMIT.saturating_add(Pauses::LONGEST.saturating_mul(2));

/// Pauses after failures. An agent should notice quickly that the API is back, and a thousand
/// agents should not ask all at once.
struct Pauses {
    next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        // Between half and all of it. The standard library's hasher keys are random.
        let random = RandomState::new().hash_one(0u8) % 512;
        Some(pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1024)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// The error with all its causes: the outermost alone says only that a watch failed.
pub(super) fn describe(error: &watcher::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Update<String, ()>;

    fn told(events: Vec<Result<Event<String>, watcher::Error>>) -> BoxStream<'static, Told> {
        let events = futures::stream::iter(events).chain(futures::stream::pending());
        stream(events, |update: Told| update, |name: String| (name, ()))
    }

    fn lost() -> kube::Error {
        kube::Error::LinesCodecMaxLineLengthExceeded
    }

    #[tokio::test]
    async fn a_watch_that_breaks_and_goes_on_is_no_failure() {
        let broken = Err(watcher::Error::WatchFailed(lost()));
        let mut updates = told(vec![broken, Ok(Event::Apply("pool".into()))]);
        assert!(matches!(updates.next().await, Some(Update::Set(name, ())) if name == "pool"));
    }

    #[tokio::test]
    async fn a_failed_watch_that_falls_silent_works_again() {
        let refused = || Update::<String, ()>::Failed("refused".into());
        let said = futures::stream::iter([refused(), Update::Begin, refused()]).chain(futures::stream::pending());
        let updates: Vec<_> = resumed(said.boxed(), Duration::from_millis(1)).take(4).collect().await;
        let [Update::Failed(_), Update::Begin, Update::Failed(_), Update::Resumed] = updates.as_slice() else {
            panic!("{updates:?}")
        };
    }

    #[tokio::test]
    async fn silence_without_a_failure_says_nothing() {
        let said = futures::stream::iter([Update::<String, ()>::End]).chain(futures::stream::pending());
        let mut updates = std::pin::pin!(resumed(said.boxed(), Duration::ZERO));
        assert!(matches!(updates.next().await, Some(Update::End)));
        assert!(futures::poll!(updates.next()).is_pending());
    }
}
