//! Messages on the DNS server's Unix socket `/run/seaway/dns.sock`.
//!
//! As on the agent's socket ([`crate::agent_api`]): the client writes one JSON object and
//! shuts down its writing side; the server answers with JSON objects, one per line.
//! [`DnsRequest::Log`] streams, all others answer once.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::agent_api::Failure;
use crate::ids::PodRef;

/// Where the DNS server of a node listens.
pub const DNS_SOCKET: &str = "/run/seaway/dns.sock";

/// What can be asked of the DNS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase")]
pub enum DnsRequest {
    /// Answer a question as for a client, and tell each step.
    Query(DnsQuestion),
    /// What is kept of others' answers.
    Cache {
        /// Only for this name; absent: all.
        #[serde(default)]
        name: Option<String>,
        /// At most so many.
        limit: usize,
    },
    /// Forget what others answered.
    Flush {
        /// For this name; absent: everything.
        #[serde(default)]
        name: Option<String>,
    },
    /// Names and clients that are seen most.
    Top {
        /// At most so many of each.
        limit: usize,
    },
    /// Stream queries as they are answered.
    Log {
        /// Which.
        filter: LogFilter,
    },
}

/// A question, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsQuestion {
    /// The name; with a dot at its end it is asked as it is.
    pub name: String,
    /// The type as text: `A`, `SRV`, `TYPE64`.
    pub kind: String,
    /// Who asks: an address, or a pod of this node as `namespace/name`. Absent: the node itself.
    #[serde(default)]
    pub from: Option<String>,
}

/// Which queries are streamed; all that is said must be true of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFilter {
    /// From pods of this namespace.
    pub namespace: Option<String>,
    /// From this pod: `namespace/name`.
    pub pod: Option<String>,
    /// For this name, and with a dot before it for all below.
    pub name: Option<String>,
    /// With this response code: `SERVFAIL`.
    pub rcode: Option<String>,
    /// Only those that failed.
    pub failed: bool,
    /// Only those that took longer than the server calls slow.
    pub slow: bool,
    /// Begin with failed and slow queries of the past that are still known.
    pub recent: bool,
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum DnsAnswer {
    /// To `Query`.
    Queried(QueryReport),
    /// To `Cache`.
    Cache {
        /// What is kept.
        entries: Vec<CachedAnswer>,
        /// How many there are in all.
        total: usize,
    },
    /// To `Flush`.
    Flushed {
        /// Answers forgotten.
        entries: usize,
    },
    /// To `Top`.
    Top(TopReport),
    /// In a `Log` stream: it listens from now on.
    Listening,
    /// In a `Log` stream: one query.
    Query(QueryRecord),
    /// In a `Log` stream: the reader was too slow, and this many queries are not shown.
    Missed {
        /// How many.
        queries: u64,
    },
    /// The request failed.
    Failed(Failure),
}

/// What was answered, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryReport {
    /// For whom it was answered.
    pub client: IpAddr,
    /// That pod, when it is known.
    pub pod: Option<PodRef>,
    /// One for each message that the client's resolver would send, the last with the answer.
    pub lookups: Vec<Lookup>,
}

/// One message and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub kind: String,
    /// Response code: `NOERROR`, `NXDOMAIN`, …
    pub rcode: String,
    /// Flags of the answer: `aa`, `ad`, `tc`, `ra`.
    pub flags: Vec<String>,
    /// Where the answer came from.
    pub way: Way,
    /// Microseconds from question to answer.
    pub took_micros: u64,
    /// Records of the answer section, as zone files have them.
    pub answer: Vec<String>,
    /// And of the authority section.
    pub authority: Vec<String>,
    /// What was decided, in order.
    pub steps: Vec<TraceStep>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// The server itself: refused, malformed, or a name that never leaves a host.
    #[default]
    Server,
    /// Names of the cluster.
    Zone,
    /// Configured names.
    Hosts,
    /// An answer that was kept.
    Cache,
    /// A kept answer whose time was over.
    Stale,
    /// An upstream, just now.
    Upstream,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceStep {
    /// The name it was about.
    pub name: String,
    /// What was decided.
    pub decision: String,
    /// The object that caused it: `Service shop/web`, `dns.hosts`, …
    pub cause: Option<String>,
    /// Upstreams asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamAttempt>,
}

/// One query to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamAttempt {
    /// Which: `10.0.0.1:53`, `tls://10.0.0.1:853#dns.example.org`.
    pub upstream: String,
    /// It went by a stream although the upstream is asked by datagrams.
    pub by_stream: bool,
    /// Microseconds from the question to this query.
    pub after_micros: u64,
    /// Microseconds until its outcome was known; absent: it was not waited for.
    pub took_micros: Option<u64>,
    /// What came of it: `NOERROR`, `silent`, `truncated`, …
    pub outcome: String,
}

/// A kept answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedAnswer {
    /// The name asked for.
    pub name: String,
    /// The type.
    pub kind: String,
    /// Response code.
    pub rcode: String,
    /// Upstreams that answer for it.
    pub upstreams: Vec<String>,
    /// Seconds that it may still be used; negative: since when it is over.
    pub left_seconds: i64,
    /// How often it was used.
    pub hits: u32,
    /// Octets of memory.
    pub octets: usize,
    /// Its records, as zone files have them.
    pub records: Vec<String>,
}

/// What is seen most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopReport {
    /// Seconds that were counted.
    pub seconds: u64,
    /// Names asked for, estimated from a sample.
    pub names: Vec<Counted>,
    /// Clients, estimated from a sample.
    pub clients: Vec<Counted>,
    /// Names that failed.
    pub failed: Vec<Counted>,
    /// Names that were slow.
    pub slow: Vec<Counted>,
}

/// How often something was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// The name, the pod, or the address.
    pub what: String,
    /// How often, at most.
    pub count: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// One query that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryRecord {
    /// Milliseconds since 1970.
    pub unix_millis: u64,
    /// Who asked.
    pub client: IpAddr,
    /// That pod, when it is known.
    pub pod: Option<PodRef>,
    /// The name.
    pub name: String,
    /// The type.
    pub kind: String,
    /// Response code.
    pub rcode: String,
    /// Records in the answer section.
    pub answers: u16,
    /// Where the answer came from.
    pub way: Way,
    /// Microseconds from question to answer.
    pub took_micros: u64,
    /// The upstream that answered, or the last one that was asked.
    pub upstream: Option<String>,
}

// === impl Way ===

impl Way {
    /// As people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Zone => "zone",
            Self::Hosts => "hosts",
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Upstream => "upstream",
        }
    }
}
