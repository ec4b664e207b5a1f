use std::sync::{Arc, Mutex};

use super::reply::{AnswerObserver, Arrival, Outcome, Workspace};
use super::*;
use crate::forward::Cache;
use crate::forward::tests::LIMITS;
use crate::resolve::{Resolver, Rules};
use crate::wire::Name;
use crate::zone::tests::judge::{question, settings};
use crate::zone::{Builder, Index};

#[derive(Debug, Default)]
struct Diary(Mutex<Vec<String>>);

impl AnswerObserver for Diary {
    fn learned(&self, client: std::net::IpAddr, name: &Name, addresses: &[(std::net::IpAddr, u32)]) {
        self.0.lock().unwrap().push(format!("{client} {name} {addresses:?}"));
    }
}

fn server(diary: &Arc<Diary>) -> Server {
    let index = Arc::new(Index::new(settings()));
    Builder::new(Arc::clone(&index)).apply([seaway_model::FeedChange::Synced]);
    let hosts = [(b"\x07printer\0".as_slice().into(), vec![[192, 0, 2, 9].into()])].into();
    let rules = Rules { search: true, hosts, hosts_ttl_seconds: 5, stubs: Vec::new(), default_group: None };
    let mut server = Server::new(Resolver { index, cache: Cache::new(LIMITS), rules, views: Arc::default() });
    server.observer = Some(Arc::clone(diary) as _);
    server
}

fn ask(server: &Server, message: &[u8], counters: &Counters) -> Vec<u8> {
    let arrival = Arrival { client: [10, 1, 0, 1].into(), datagram: true, now_micros: 1, unix_seconds: 99 };
    let mut buffer = [0; 1232];
    match server.answer(message, arrival, None, &mut Workspace::default(), counters, &mut buffer) {
        Outcome::Reply(octets, _) => octets.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_must_know_addresses_knows_them_before_the_answer_leaves() {
    let diary = Arc::new(Diary::default());
    let (server, counters) = (server(&diary), Counters::default());
    ask(&server, &question("printer.", "A"), &counters);
    ask(&server, &question("nobody.cluster.local.", "A"), &counters);
    assert_eq!(*diary.0.lock().unwrap(), ["10.1.0.1 printer. [(192.0.2.9, 5)]"]);
}

#[test]
fn a_cookie_comes_back_with_ours_and_is_the_same_for_the_same_client() {
    let (server, counters) = (server(&Arc::default()), Counters::default());
    let mut message = question("printer.", "A");
    message[11] = 1;
    message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08clientid");
    let answer = ask(&server, &message, &counters);
    let cookie = &answer[answer.len() - 24..];
    assert_eq!(&cookie[..8], b"clientid");
    assert_eq!(&cookie[8..16], [1, 0, 0, 0, 0, 0, 0, 99]);
    assert_eq!(ask(&server, &message, &counters), answer);
}

#[test]
fn queries_are_counted_as_they_are_answered() {
    let (server, counters) = (server(&Arc::default()), Counters::default());
    ask(&server, &question("printer.", "A"), &counters);
    ask(&server, &question("example.org.", "MX"), &counters);
    let mut opcode = question("printer.", "A");
    opcode[2] = 0x28;
    ask(&server, &opcode, &counters);
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((load(&counters.requests[0]), load(&counters.requests[6])), (1, 1));
    assert_eq!(load(&counters.responses[5]), 1, "nobody to ask: refused");
    assert_eq!((load(&counters.responses[4]), load(&counters.malformed)), (1, 1));
}
