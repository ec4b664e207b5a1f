//! One client floods, another asks now and then, and both share a server.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seaway_dns::forward::Forwarder;
use seaway_dns::forward::cache::{Cache, CacheLimits};
use seaway_dns::resolve::{Resolver, Rules};
use seaway_dns::server::dial::Dialer;
use seaway_dns::server::limit::RateLimit;
use seaway_dns::server::secure::Trust;
use seaway_dns::server::socket::Listening;
use seaway_dns::server::{Server, Shard};
use seaway_dns::wire::OwnedName;
use seaway_dns::zone::{Index, PodNames, ZoneSettings};
use seaway_runtime::shutdown::CancellationToken;

/// More than a server queues, and less than a socket holds.
const FLOOD: u16 = 3000;
const SLOW: u16 = 20;
const LIMITS: CacheLimits =
    CacheLimits { octets: 1 << 20, positive_seconds: 60, negative_seconds: 60, stale_seconds: 0 };

fn server() -> Arc<Server> {
    let settings = ZoneSettings {
        domain: OwnedName::parse("cluster.local").unwrap(),
        ttl_seconds: 5,
        pods: PodNames::Disabled,
        endpoint_pod_names: false,
        servers: Vec::new(),
        cluster_set: None,
        external: Vec::new(),
    };
    let rules =
        Rules { search: false, hosts: HashMap::new(), hosts_ttl_seconds: 5, stubs: Vec::new(), default_group: None };
    let index = Arc::new(Index::new(settings));
    Arc::new(Server::new(Resolver { index, cache: Cache::new(LIMITS), rules, views: Arc::default() }))
}

fn localhost(id: u16) -> Vec<u8> {
    let mut message = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x09localhost\0\0\x01\0\x01");
    message
}

/// A client with its own address; what the kernel holds for it is more than all answers.
fn client(address: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
    socket.connect(server).unwrap();
    socket
}

/// Ids of the answers that came, until `last` of them are here or none comes for a while.
fn answered(socket: &UdpSocket, last: usize, patience: Duration) -> Vec<u16> {
    socket.set_read_timeout(Some(patience)).unwrap();
    let (mut ids, mut answer) = (Vec::new(), [0; 512]);
    while ids.len() < last
        && let Ok(length) = socket.recv(&mut answer)
    {
        assert!(length > 12 && answer[2] & 0x80 != 0 && answer[7] == 1, "an answer with one record");
        ids.push(u16::from_be_bytes([answer[0], answer[1]]));
    }
    ids
}

#[test]
fn a_client_that_floods_loses_its_newest_and_others_lose_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut listening = Listening::open("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let at = listening.address;
    let (flooding, slow) = (client("127.0.0.66", at), client("127.0.0.67", at));
    // Everything is there before the server looks, the slow client's queries behind the flood.
    for id in 0..FLOOD {
        flooding.send(&localhost(id)).unwrap();
    }
    for id in 0..SLOW {
        slow.send(&localhost(id)).unwrap();
    }
    let forwarder = Forwarder::new(Vec::new(), Vec::new(), LIMITS, 1);
    let dialer = Dialer::new(runtime.handle().clone(), Trust::load(None).unwrap());
    let sockets = std::mem::take(&mut listening.datagrams);
    let shard = Shard::new(server(), sockets, forwarder, dialer, RateLimit::new(0, 1)).unwrap();
    let (counters, stop) = (shard.counters(), CancellationToken::new());
    let until = stop.clone();
    let thread = std::thread::spawn(move || shard.run(&until, Duration::ZERO));

    let ids = answered(&slow, usize::from(SLOW), Duration::from_secs(10));
    assert_eq!(ids, (0..SLOW).collect::<Vec<_>>(), "the slow client loses nothing, and nothing is out of order");
    let ids = answered(&flooding, usize::from(FLOOD), Duration::from_secs(2));
    let shed = counters.overload.load(Ordering::Relaxed);
    assert_eq!(ids.len() as u64 + shed, u64::from(FLOOD), "what is not answered is counted");
    assert!(shed > 0, "the flood is more than is queued");
    assert_eq!(ids[..900], (0..900).collect::<Vec<u16>>(), "its oldest are answered");
    stop.cancel();
    thread.join().unwrap();
}
