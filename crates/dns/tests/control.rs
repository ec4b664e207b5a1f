//! What operators ask a running server: why an answer is what it is, what is kept, who asks.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set up has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use seaway_dns::daemon;
use seaway_dns::server::socket::Listening;
use seaway_model::dns_api::{DnsAnswer, DnsQuestion, DnsRequest, LogFilter, Lookup, Way};
use seaway_runtime::config::{DnsPolicy, DnsTransport, DnsUpstream, RawConfig};
use seaway_runtime::shutdown::CancellationToken;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

struct Running {
    run: tempfile::TempDir,
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A server whose first upstream is silent.
async fn start() -> Running {
    let run = tempfile::tempdir().unwrap();
    let mut config = RawConfig::default().dns().unwrap();
    config.run = run.path().to_owned();
    config.plain.admin = ([127, 0, 0, 1], 0).into();
    config.plain.policy = DnsPolicy::Sequential;
    let upstreams = [upstream(false), upstream(true)];
    config.upstreams = upstreams.map(|address| DnsUpstream { address, transport: DnsTransport::Udp }).into();
    let listening = vec![Listening::open("127.0.0.1:0".parse().unwrap(), 1).unwrap()];
    let (at, stop) = (listening[0].address, CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move { daemon::serve(config, listening, 1, stopped).await.unwrap() });
    let socket = run.path().join("dns.sock");
    until(|| socket.exists()).await;
    Running { run, at, stop, task }
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// An upstream that is silent, or answers `192.0.2.1`.
fn upstream(answers: bool) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let mut answer = query[..end].to_vec();
            (answer[2], answer[3], answer[7], answer[11]) = (0x81, 0x80, 1, 0);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
            if answers {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    at
}

impl Running {
    fn socket(&self) -> std::path::PathBuf {
        self.run.path().join("dns.sock")
    }

    async fn ask(&self, request: &DnsRequest) -> DnsAnswer {
        next(&mut open(&self.socket(), request).await).await
    }

    async fn query(&self, name: &str) -> Lookup {
        let question = DnsQuestion { name: name.to_owned(), kind: "A".to_owned(), from: None };
        match self.ask(&DnsRequest::Query(question)).await {
            DnsAnswer::Queried(mut report) => report.lookups.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A client that asks by a datagram.
    async fn client(&self, name: &'static str) {
        let at = self.at;
        let asked = tokio::task::spawn_blocking(move || {
            let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for label in name.split('.') {
                message.push(label.len() as u8);
                message.extend(label.as_bytes());
            }
            message.extend([0, 0, 1, 0, 1]);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&message, at).unwrap();
            socket.recv(&mut [0; 512]).unwrap()
        });
        asked.await.unwrap();
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

async fn open(socket: &Path, request: &DnsRequest) -> Lines<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(&serde_json::to_vec(request).unwrap()).await.unwrap();
    stream.shutdown().await.unwrap();
    BufReader::new(stream).lines()
}

async fn next(lines: &mut Lines<BufReader<UnixStream>>) -> DnsAnswer {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_names_the_upstream_that_was_silent_and_the_one_that_answered() {
    let server = start().await;
    let lookup = server.query("api.example.org").await;
    assert_eq!((lookup.rcode.as_str(), lookup.way), ("NOERROR", Way::Upstream));
    assert_eq!(lookup.answer, ["api.example.org. 60 A 192.0.2.1"]);
    let step = lookup.steps.last().unwrap();
    assert_eq!((step.name.as_str(), step.cause.as_deref()), ("api.example.org.", Some("dns.upstreams")));
    let outcomes: Vec<&str> = step.upstreams.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["silent", "NOERROR"]);
    let again = server.query("API.example.org").await;
    assert_eq!(again.way, Way::Cache);
    assert_eq!(again.steps[0].decision, "answered from the cache");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_tells_what_decides_without_upstreams() {
    let server = start().await;
    let unknown = server.query("web.shop.svc.cluster.local").await;
    assert_eq!((unknown.rcode.as_str(), unknown.way), ("SERVFAIL", Way::Zone));
    assert_eq!(unknown.steps[0].cause.as_deref(), Some("no namespace shop"));
    assert!(unknown.steps[0].decision.starts_with("not known"));
    let own = server.query("localhost").await;
    assert_eq!((own.way, own.answer.len()), (Way::Hosts, 1));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_shown_and_forgotten_by_name() {
    let server = start().await;
    for name in ["a.example.org", "b.example.org"] {
        server.query(name).await;
    }
    let of = |name: &str| DnsRequest::Cache { name: Some(name.to_owned()), limit: 10 };
    let DnsAnswer::Cache { entries, total } = server.ask(&of("A.example.org")).await else { panic!() };
    assert_eq!((entries.len(), total), (1, 1));
    assert_eq!((entries[0].kind.as_str(), entries[0].rcode.as_str()), ("A", "NOERROR"));
    assert!((40..=60).contains(&entries[0].left_seconds) && entries[0].records[0].ends_with("A 192.0.2.1"));
    assert_eq!(entries[0].upstreams.len(), 2);
    let flush = DnsRequest::Flush { name: Some("a.example.org".to_owned()) };
    assert_eq!(server.ask(&flush).await, DnsAnswer::Flushed { entries: 1 });
    assert_eq!(server.query("b.example.org").await.way, Way::Cache);
    assert_eq!(server.query("a.example.org").await.way, Way::Upstream);
    assert_eq!(server.ask(&DnsRequest::Flush { name: None }).await, DnsAnswer::Flushed { entries: 2 });
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_of_each_query_and_the_busiest_are_counted() {
    let server = start().await;
    let filter = LogFilter { name: Some("localhost".to_owned()), ..LogFilter::default() };
    let mut lines = open(&server.socket(), &DnsRequest::Log { filter }).await;
    assert_eq!(next(&mut lines).await, DnsAnswer::Listening);
    server.client("invalid").await;
    for _ in 0..64 {
        server.client("localhost").await;
    }
    for _ in 0..64 {
        let DnsAnswer::Query(record) = next(&mut lines).await else { panic!() };
        assert_eq!((record.name.as_str(), record.rcode.as_str(), record.answers), ("localhost.", "NOERROR", 1));
        assert_eq!((record.way, record.client.to_string().as_str()), (Way::Hosts, "127.0.0.1"));
    }
    let DnsAnswer::Top(top) = server.ask(&DnsRequest::Top { limit: 1 }).await else { panic!() };
    assert_eq!((top.names[0].what.as_str(), top.names[0].count), ("localhost.", 64));
    assert_eq!(top.clients[0].what, "127.0.0.1");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_root_may_ask_and_nonsense_is_refused_with_a_reason() {
    let server = start().await;
    assert_eq!(std::fs::metadata(server.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    for (name, kind, from) in [("a..b", "A", None), ("a", "NOTHING", None), ("a", "A", Some("shop/nobody"))] {
        let from = from.map(str::to_owned);
        let question = DnsQuestion { name: name.to_owned(), kind: kind.to_owned(), from };
        let DnsAnswer::Failed(failure) = server.ask(&DnsRequest::Query(question)).await else { panic!("{name}") };
        assert_eq!(failure.id, "SW1210");
    }
    let socket = server.socket();
    server.end().await;
    // Nothing is left behind.
    until(|| !socket.exists()).await;
}
