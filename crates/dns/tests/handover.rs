//! A server that is replaced, or killed, under load: the sockets stay, and so do the queries.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway_dns::daemon;
use seaway_dns::handover::{Holder, public, take, take_over};
use seaway_dns::server::socket::Listening;
use seaway_runtime::config::{DnsConfig, RawConfig};
use seaway_runtime::shutdown::CancellationToken;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(5);

/// `localhost. A`, which is answered without an agent.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

fn config(run: &tempfile::TempDir) -> DnsConfig {
    let mut config = RawConfig::default().dns().unwrap();
    config.run = run.path().to_owned();
    config.plain.admin = ([127, 0, 0, 1], 0).into();
    config
}

fn open() -> Vec<Listening> {
    vec![Listening::open("127.0.0.1:0".parse().unwrap(), 2).unwrap()]
}

fn start(run: &tempfile::TempDir, listening: Vec<Listening>) -> (CancellationToken, JoinHandle<()>) {
    let (config, stop) = (config(run), CancellationToken::new());
    let until = stop.clone();
    (stop, tokio::spawn(async move { daemon::serve(config, listening, 2, until).await.unwrap() }))
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn sockets_are_had_from_the_newest_holder() {
    let run = tempfile::tempdir().unwrap();
    assert!(take_over(run.path()).is_empty(), "nobody holds any");
    let first = Holder::offer(run.path(), open()).unwrap();
    let taken = take_over(run.path());
    let at = taken[0].address;
    assert_eq!((taken.len(), taken[0].datagrams.len()), (1, 2));
    assert_eq!(taken[0].datagrams[1].local_addr().unwrap(), at);
    assert_eq!(taken[0].stream.local_addr().unwrap(), at);
    let second = Holder::offer(run.path(), taken).unwrap();
    drop(first);
    assert_eq!(take_over(run.path())[0].address, at, "the end of the first takes nothing from the second");
    drop(second);
    assert!(take_over(run.path()).is_empty());
    assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_while_nobody_reads_is_answered_by_the_next() {
    let run = tempfile::tempdir().unwrap();
    let listening = open();
    let at = listening[0].address;
    let holder = Holder::offer(run.path(), listening).unwrap();
    let clients: Vec<UdpSocket> = (0..50).map(|_| client(at)).collect();
    clients.iter().for_each(|client| assert_eq!(client.send(QUERY).unwrap(), QUERY.len()));
    let (stop, task) = start(&run, take(&holder.path).unwrap());
    let answered =
        tokio::task::spawn_blocking(move || clients.iter().filter(|client| client.recv(&mut [0; 512]).is_ok()).count());
    assert_eq!(answered.await.unwrap(), 50);
    stop.cancel();
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_is_lost_when_servers_replace_each_other() {
    let run = tempfile::tempdir().unwrap();
    let listening = open();
    let at = listening[0].address;
    let _holder = Holder::offer(run.path(), listening).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let enough = Arc::clone(&enough);
            std::thread::spawn(move || {
                let (mut sent, mut lost) = (0, 0);
                while !enough.load(Ordering::Relaxed) {
                    let client = client(at);
                    for _ in 0..20 {
                        client.send(QUERY).unwrap();
                        sent += 1;
                        lost += u32::from(client.recv(&mut [0; 512]).is_err());
                    }
                }
                (sent, lost)
            })
        })
        .collect();
    let mut running = start(&run, take_over(run.path()));
    for _ in 0..5 {
        let next = start(&run, take_over(run.path()));
        running.0.cancel();
        tokio::time::timeout(PATIENCE, running.1).await.unwrap().unwrap();
        running = next;
    }
    enough.store(true, Ordering::Relaxed);
    let results: Vec<(u32, u32)> = load.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(results.iter().map(|(sent, _)| sent).sum::<u32>() > 100, "{results:?}");
    assert!(results.iter().all(|(_, lost)| *lost == 0), "{results:?}");
    running.0.cancel();
    tokio::time::timeout(PATIENCE, running.1).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_its_holder_and_hands_the_sockets_to_the_next() {
    let run = tempfile::tempdir().unwrap();
    let listening = open();
    let at = listening[0].address;
    let holder = Holder::offer(run.path(), listening).unwrap();
    let (config, stop, path) = (config(&run), CancellationToken::new(), holder.path.clone());
    let until = stop.clone();
    let worker = tokio::spawn(async move { daemon::work(config, &path, until).await });
    let first = std::fs::read_link(public(run.path())).unwrap();
    let answered = tokio::task::spawn_blocking(move || {
        let client = client(at);
        client.send(QUERY).unwrap();
        client.recv(&mut [0; 512]).is_ok()
    });
    assert!(answered.await.unwrap());
    drop(holder);
    let offered = tokio::time::timeout(PATIENCE, async {
        while !std::fs::read_link(public(run.path())).is_ok_and(|now| now != first) {
            tokio::task::yield_now().await;
        }
        take_over(run.path())
    });
    let taken = offered.await.unwrap();
    assert_eq!(taken[0].address, at, "the worker offers what it had");
    let answered = tokio::task::spawn_blocking(move || {
        let client = client(at);
        client.send(QUERY).unwrap();
        client.recv(&mut [0; 512]).is_ok()
    });
    assert!(answered.await.unwrap(), "and goes on answering");
    let _next = Holder::offer(run.path(), taken).unwrap();
    tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap();
    assert!(stop.is_cancelled(), "until another holder has come");
}
