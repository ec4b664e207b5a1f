//! The server with real sockets on loopback, an agent that is a script, and upstreams
//! that answer, are silent, or truncate.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set up has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaway_dns::daemon;
use seaway_dns::server::socket::Listening;
use seaway_runtime::config::{DnsConfig, DnsTransport, DnsUpstream, RawConfig};
use seaway_runtime::shutdown::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the agent tells: one Service `shop/web`.
const TOLD: &str = r#"{"answer":"changes","changes":[
{"change":"begin","node":"n1"},{"change":"namespace","of":"shop","now":{"labels":{}}},
{"change":"service","of":{"namespace":"shop","name":"web"},"now":{"uid":"u","createdAtSeconds":0,"kind":"ClusterIP",
"clusterIps":["10.0.0.1"],"headless":false,"ports":[],"externalIps":[],"ingress":[],"loadBalancerClass":null,
"sourceRanges":[],"affinityTimeoutSeconds":null,"internalPolicy":"Cluster","externalPolicy":"Cluster",
"healthCheckNodePort":null,"publishNotReadyAddresses":false,"trafficDistribution":"Any","externalName":null,
"labels":{},"annotations":{}}},{"change":"synced"}]}"#;

struct Running {
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn config(run: &tempfile::TempDir, upstreams: &[SocketAddr]) -> DnsConfig {
    let mut config = RawConfig::default().dns().unwrap();
    config.run = run.path().to_owned();
    config.plain.admin = ([127, 0, 0, 1], 0).into();
    config.upstreams = upstreams.iter().map(|at| DnsUpstream { address: *at, transport: DnsTransport::Udp }).collect();
    if upstreams.is_empty() {
        // Nobody listens on the discard port of this address.
        config.upstreams = vec![DnsUpstream { address: "127.0.0.99:9".parse().unwrap(), transport: DnsTransport::Udp }];
    }
    config
}

fn start(config: DnsConfig, addresses: &[&str]) -> Running {
    let open = |address: &&str| Listening::open(format!("{address}:0").parse().unwrap(), 2).unwrap();
    let listening: Vec<Listening> = addresses.iter().map(open).collect();
    let addresses = listening.iter().map(|listening| listening.address).collect();
    let stop = CancellationToken::new();
    let until = stop.clone();
    let task = tokio::spawn(async move { daemon::serve(config, listening, 2, until).await.unwrap() });
    Running { addresses, stop, task }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// An agent at the socket of the run directory.
fn agent(run: &tempfile::TempDir) -> JoinHandle<()> {
    let path = run.path().join("agent.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).await.unwrap();
            assert_eq!(request, r#"{"verb":"follow","allPods":false,"imports":true,"gateways":false}"#);
            stream.write_all(TOLD.replace('\n', "").as_bytes()).await.unwrap();
            stream.write_all(b"\n").await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read_u8().await;
                std::future::pending::<()>().await;
            });
        }
    })
}

fn query(id: u16, name: &str, kind: u8) -> Vec<u8> {
    let mut message = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, kind, 0, 1]);
    message
}

async fn ask(server: SocketAddr, name: &str) -> Vec<u8> {
    let (message, any) = (query(7, name, 1), SocketAddr::new(server.ip(), 0));
    tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind(any).unwrap();
        // A connected socket takes answers from the address asked only.
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&message).unwrap();
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    })
    .await
    .unwrap()
}

fn rcode(answer: &[u8]) -> u8 {
    answer[3] & 0xf
}

/// Asks until the answer is as wanted: the server hears of the agent in its own time.
async fn ask_until(server: SocketAddr, name: &str, wanted: u8) -> Vec<u8> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = ask(server, name).await;
        if rcode(&answer) == wanted {
            return answer;
        }
        assert!(Instant::now() < give_up, "{name} still answers {}", rcode(&answer));
        tokio::task::yield_now().await;
    }
}

/// An upstream in a thread of its own; `reply` makes the answer, or silence.
fn upstream(address: &str, reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = reply(&query[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    at
}

fn honest(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let mut answer = query[..end].to_vec();
    (answer[2], answer[3], answer[7], answer[11]) = (0x81, 0x80, 1, 0);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    answer
}

const WEB: &str = "web.shop.svc.cluster.local";

/// An agent that tells one configuration after the other, each when it is asked to.
fn configuring_agent(run: &tempfile::TempDir) -> tokio::sync::mpsc::UnboundedSender<&'static str> {
    let path = run.path().join("agent.sock");
    let listener = UnixListener::bind(path).unwrap();
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel::<&str>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        stream.read_to_string(&mut request).await.unwrap();
        stream.write_all(TOLD.replace('\n', "").as_bytes()).await.unwrap();
        stream.write_all(b"\n").await.unwrap();
        while let Some(line) = lines.recv().await {
            let line = format!("{{\"answer\":\"changes\",\"changes\":[{}]}}\n", line.replace('\n', ""));
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_changes_what_is_answered_and_outlives_a_restart() {
    let run = tempfile::tempdir().unwrap();
    let ours = upstream("127.0.0.1:0", |query| Some(honest(query)));
    let server = start(config(&run, &[ours]), &["127.0.0.1"]);
    let at = server.addresses[0];
    let tell = configuring_agent(&run);
    ask_until(at, WEB, 0).await;
    assert!(ask(at, "ads.example").await.ends_with(&[192, 0, 2, 1]), "it is in the cache now");
    tell.send(
        r#"{"change":"dnsConfig","of":"a","now":{"block":[{"names":["ads.example"]}],
        "zones":[{"name":"corp.example","text":"www A 192.0.2.80\n"}]}}"#,
    )
    .unwrap();
    ask_until(at, "ads.example", 3).await;
    assert!(ask(at, "www.corp.example").await.ends_with(&[192, 0, 2, 80]));
    tell.send(r#"{"change":"dnsConfig","of":"a","now":{"hosts":[{"name":"a..b","addresses":["192.0.2.1"]}]}}"#)
        .unwrap();
    tell.send(r#"{"change":"dnsConfig","of":"b","now":{"hosts":[{"name":"b.example","addresses":["192.0.2.77"]}]}}"#)
        .unwrap();
    let give_up = Instant::now() + PATIENCE;
    while !ask(at, "b.example").await.ends_with(&[192, 0, 2, 77]) {
        assert!(Instant::now() < give_up, "b is not in force");
    }
    assert_eq!(rcode(&ask(at, "ads.example").await), 3, "the last good form of a stays");
    server.end().await;
    drop(tell);
    let again = start(config(&run, &[ours]), &["127.0.0.1"]);
    assert_eq!(rcode(&ask(again.addresses[0], "ads.example").await), 3, "at once, without the agent");
    assert!(ask(again.addresses[0], "b.example").await.ends_with(&[192, 0, 2, 77]));
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_forwards_to_upstreams_of_its_own() {
    let run = tempfile::tempdir().unwrap();
    let ours = upstream("127.0.0.1:0", |query| Some(honest(query)));
    let theirs = upstream("127.0.0.1:0", |query| {
        let mut answer = honest(query);
        *answer.last_mut().unwrap() = 2;
        Some(answer)
    });
    let saved = format!(
        r#"{{"namespaces":["red"],"services":[],"slices":[],"views":{{"configs":[["red",{{"namespaceSelector":
        {{"matchLabels":{{"team":"red"}}}},"forward":[{{"domain":".","upstreams":["{theirs}"]}}]}}]],
        "namespaces":[["red",{{"team":"red"}}]],"pods":[[{{"namespace":"red","name":"p"}},["127.0.0.5"]]]}}}}"#
    );
    std::fs::write(run.path().join(seaway_model::feed::NAMES_FILE), saved).unwrap();
    let server = start(config(&run, &[ours]), &["127.0.0.1"]);
    let at = server.addresses[0];
    let from_pod = move || {
        let socket = UdpSocket::bind("127.0.0.5:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query(1, "example.org", 1), at).unwrap();
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).unwrap();
        answer[length - 1]
    };
    for round in 0..3 {
        assert_eq!(ask(at, "example.org").await.last(), Some(&1), "round {round}: others");
        assert_eq!(tokio::task::spawn_blocking(from_pod).await.unwrap(), 2, "round {round}: the view's own");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_again_when_they_change_and_a_fault_leaves_the_last_good_content() {
    let run = tempfile::tempdir().unwrap();
    let (zone, block) = (run.path().join("corp.zone"), run.path().join("block.list"));
    std::fs::write(&zone, "www A 192.0.2.80\n").unwrap();
    std::fs::write(&block, "0.0.0.0 ads.example\n").unwrap();
    let ours = upstream("127.0.0.1:0", |query| Some(honest(query)));
    let mut config = config(&run, &[ours]);
    config.plain.zone_files = [("corp.example".to_owned(), zone.clone())].into();
    config.plain.block_files = vec![block.clone()];
    let server = start(config, &["127.0.0.1"]);
    let at = server.addresses[0];
    assert!(ask(at, "www.corp.example").await.ends_with(&[192, 0, 2, 80]), "from the first query on");
    assert_eq!(rcode(&ask(at, "ads.example").await), 3);
    std::fs::write(&block, "tracker.example\n").unwrap();
    ask_until(at, "tracker.example", 3).await;
    std::fs::write(&zone, "www A 192.0.2.80\nwww A 192.0.2\n").unwrap();
    std::fs::write(&block, "ads.example\n").unwrap();
    ask_until(at, "ads.example", 3).await;
    assert!(ask(at, "www.corp.example").await.ends_with(&[192, 0, 2, 80]), "its last good content");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_outlive_the_agent_and_a_restart() {
    let run = tempfile::tempdir().unwrap();
    let server = start(config(&run, &[]), &["127.0.0.1"]);
    let at = server.addresses[0];
    assert_eq!(rcode(&ask(at, WEB).await), 2, "nothing is known: it fails, and does not deny");
    let told = agent(&run);
    assert!(ask_until(at, WEB, 0).await.ends_with(&[10, 0, 0, 1]));
    assert_eq!(rcode(&ask(at, "api.shop.svc.cluster.local").await), 3);
    told.abort();
    assert!(ask(at, WEB).await.ends_with(&[10, 0, 0, 1]), "the agent is gone");
    server.end().await;
    let again = start(config(&run, &[]), &["127.0.0.1"]);
    assert!(ask(again.addresses[0], WEB).await.ends_with(&[10, 0, 0, 1]), "at once, without the agent");
    assert_eq!(rcode(&ask(again.addresses[0], "api.shop.svc.cluster.local").await), 3);
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_from_the_address_that_was_asked() {
    let run = tempfile::tempdir().unwrap();
    let server = start(config(&run, &[]), &["127.0.0.2", "127.0.0.3"]);
    for at in &server.addresses {
        assert_eq!(ask(*at, "localhost").await[7], 1, "{at}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_families_are_answered_in_turn() {
    let run = tempfile::tempdir().unwrap();
    let server = start(config(&run, &[]), &["127.0.0.1", "[::1]"]);
    for round in 0..40 {
        for at in &server.addresses {
            assert_eq!(ask(*at, "localhost").await[7], 1, "{at}, round {round}");
        }
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_on_one_connection_are_answered_in_order_without_waiting() {
    let run = tempfile::tempdir().unwrap();
    let _agent = agent(&run);
    let server = start(config(&run, &[upstream("127.0.0.1:0", |query| Some(honest(query)))]), &["127.0.0.1"]);
    ask_until(server.addresses[0], WEB, 0).await;
    let mut stream = TcpStream::connect(server.addresses[0]).await.unwrap();
    let mut sent = Vec::new();
    for id in 0..50 {
        let message = query(id, if id % 2 == 0 { WEB } else { "example.org" }, 1);
        sent.extend((message.len() as u16).to_be_bytes());
        sent.extend(message);
    }
    stream.write_all(&sent).await.unwrap();
    for id in 0..50u16 {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..2], id.to_be_bytes());
        assert_eq!((rcode(&answer), answer[7]), (0, 1));
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_upstream_costs_less_than_50_ms_once() {
    let run = tempfile::tempdir().unwrap();
    let silent = upstream("127.0.0.1:0", |_| None);
    let living = upstream("127.0.0.1:0", |query| Some(honest(query)));
    let mut config = config(&run, &[silent, living]);
    config.plain.policy = seaway_runtime::config::DnsPolicy::Sequential;
    let server = start(config, &["127.0.0.1"]);
    let begun = Instant::now();
    let answer = ask(server.addresses[0], "example.org").await;
    assert!(answer.ends_with(&[192, 0, 2, 1]));
    // 45 ms until the next is asked; the rest is this machine being busy.
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_a_datagram_is_fetched_by_tcp_and_cut_for_the_client() {
    let run = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut query).await.unwrap();
        let mut answer = honest(&query);
        answer[7] = 100;
        for last in 1..100 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
        }
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    upstream(&at.to_string(), |query| {
        let mut answer = honest(query);
        answer[2] |= 2;
        Some(answer)
    });
    let server = start(config(&run, &[at]), &["127.0.0.1"]);
    let answer = ask(server.addresses[0], "many.example.org").await;
    assert!(answer.len() <= 512 && answer[2] & 2 != 0, "cut and said so");
    let mut stream = TcpStream::connect(server.addresses[0]).await.unwrap();
    let message = query(9, "many.example.org", 1);
    stream.write_u16(message.len() as u16).await.unwrap();
    stream.write_all(&message).await.unwrap();
    let mut whole = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut whole).await.unwrap();
    assert_eq!(whole[7], 100);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_not_allowed_get_nothing_from_the_cache() {
    let run = tempfile::tempdir().unwrap();
    let mut config = config(&run, &[upstream("127.0.0.1:0", |query| Some(honest(query)))]);
    config.plain.allowed_clients = vec!["127.0.0.1/32".parse().unwrap()];
    let server = start(config, &["127.0.0.1"]);
    let at = server.addresses[0];
    assert_eq!(rcode(&ask(at, "example.org").await), 0);
    let refused = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.5:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query(1, "example.org", 1), at).unwrap();
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).unwrap();
        (answer[3] & 0xf, answer[7], length)
    });
    let (rcode, answers, _) = refused.await.unwrap();
    assert_eq!((rcode, answers), (5, 0));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_all_get_answers() {
    let run = tempfile::tempdir().unwrap();
    let server = start(config(&run, &[upstream("127.0.0.1:0", |query| Some(honest(query)))]), &["127.0.0.1"]);
    let at = server.addresses[0];
    let names = Arc::new(["a.example", "b.example", "c.example", "localhost"]);
    let asking = (0..40usize).map(|number| {
        let names = Arc::clone(&names);
        tokio::spawn(async move { rcode(&ask(at, names[number % 4]).await) })
    });
    for answer in asking.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), 0);
    }
    server.end().await;
}
