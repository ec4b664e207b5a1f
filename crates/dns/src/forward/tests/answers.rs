//! What is kept of an answer.

use domain::base::{Message, MessageBuilder, Name as DomainName, Rtype, Ttl};
use domain::rdata::{A, Cname, Soa};

use super::super::entry::Entry;
use super::super::normal::{Expected, Rejected, read};
use super::*;
use crate::wire::name::Place;
use crate::wire::{Response, query};

type Wire = DomainName<Vec<u8>>;

fn wire(text: &str) -> Wire {
    text.parse().unwrap()
}

pub(super) enum Say<'t> {
    Address(&'t str, u32, [u8; 4]),
    Alias(&'t str, u32, &'t str),
    Denial(&'t str, u32, u32),
}

pub(super) fn answer(code: u8, asked: &str, says: &[Say<'_>]) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_qr(true);
    builder.header_mut().set_rcode(domain::base::iana::Rcode::checked_from_int(code).unwrap());
    let mut questions = builder.question();
    questions.push((wire(asked), Rtype::A)).unwrap();
    let mut answers = questions.answer();
    for say in says {
        match say {
            Say::Address(owner, ttl, address) => {
                let data = A::from(std::net::Ipv4Addr::from(*address));
                answers.push((wire(owner), Ttl::from_secs(*ttl), data)).unwrap();
            }
            Say::Alias(owner, ttl, target) => {
                answers.push((wire(owner), Ttl::from_secs(*ttl), Cname::new(wire(target)))).unwrap();
            }
            Say::Denial(..) => {}
        }
    }
    let mut authority = answers.authority();
    for say in says {
        if let Say::Denial(zone, ttl, minimum) = say {
            let number = Ttl::from_secs(1);
            let (m, r) = (wire("ns.example"), wire("admin.example"));
            let soa = Soa::new(m, r, 1.into(), number, number, number, Ttl::from_secs(*minimum));
            authority.push((wire(zone), Ttl::from_secs(*ttl), soa)).unwrap();
        }
    }
    authority.finish()
}

pub(super) fn kept(code: u8, asked: &str, says: &[Say<'_>]) -> Result<Entry, Rejected> {
    let octets = answer(code, asked, says);
    let question = super::question(asked);
    let wire = [question.name.wire(), &[0, 1, 0, 1]].concat();
    read(&octets, Expected { id: 7, question: &wire, name: &question.name, kind: kind::A }, &LIMITS, 0)
}

/// The records as a client sees them after so many seconds.
pub(super) fn shown(entry: &Entry, asked: &str, after_seconds: u64) -> Vec<String> {
    let octets = crate::zone::tests::judge::question(&format!("{asked}."), "A");
    let mut name = Name::root();
    let query = query::read(&octets, &mut name).unwrap();
    let mut buffer = [0; 4096];
    let mut response = Response::new(&mut buffer, 4096, &query);
    entry.write(&name, Place::QUESTION, after_seconds * 1000, false, &mut response);
    let octets = response.finish(None);
    Message::from_octets(octets).unwrap();
    let told = crate::zone::tests::judge::told(octets);
    [told.answer, told.authority].concat()
}

#[test]
fn aliases_are_followed_and_times_run_down() {
    let says = [
        Say::Alias("www.example.org", 60, "cdn.example.net"),
        Say::Address("cdn.example.net", 20, [192, 0, 2, 1]),
        Say::Address("cdn.example.net", 20, [192, 0, 2, 2]),
    ];
    let entry = kept(0, "www.example.org", &says).unwrap();
    assert_eq!(entry.ttl_seconds, 20);
    assert_eq!(
        shown(&entry, "www.example.org", 5),
        [
            "www.example.org 55 CNAME cdn.example.net",
            "cdn.example.net 15 A 192.0.2.1",
            "cdn.example.net 15 A 192.0.2.2"
        ]
    );
}

#[test]
fn what_was_not_asked_for_is_not_kept() {
    let says = [
        Say::Address("www.example.org", 60, [192, 0, 2, 1]),
        Say::Address("bank.example", 60, [192, 0, 2, 66]),
        Say::Alias("other.example", 60, "bank.example"),
    ];
    let entry = kept(0, "www.example.org", &says).unwrap();
    assert_eq!(shown(&entry, "www.example.org", 0), ["www.example.org 60 A 192.0.2.1"]);
}

#[test]
fn denials_are_kept_for_as_long_as_their_soa_says_and_not_without() {
    for code in [rcode::NOERROR, rcode::NXDOMAIN] {
        let entry = kept(code, "www.example.org", &[Say::Denial("example.org", 300, 10)]).unwrap();
        assert_eq!((entry.rcode, entry.ttl_seconds), (code, 10));
        let shown = shown(&entry, "www.example.org", 3);
        assert!(shown[0].starts_with("example.org 7 SOA "), "{shown:?}");
        assert_eq!(kept(code, "www.example.org", &[]).unwrap().ttl_seconds, 0, "no SOA");
        let other = kept(code, "www.example.org", &[Say::Denial("example.net", 300, 10)]).unwrap();
        assert_eq!(other.ttl_seconds, 0, "the SOA of another zone");
    }
    let long = kept(rcode::NXDOMAIN, "www.example.org", &[Say::Denial("example.org", 86_400, 86_400)]).unwrap();
    assert_eq!(long.ttl_seconds, LIMITS.negative_seconds);
}

#[test]
fn circles_of_aliases_end() {
    let says = [Say::Alias("a.example", 60, "b.example"), Say::Alias("b.example", 60, "a.example")];
    let entry = kept(0, "a.example", &says).unwrap();
    assert_eq!(entry.ttl_seconds, 0);
    assert!(shown(&entry, "a.example", 0).len() <= 16);
}

#[test]
fn answers_for_dnssec_and_plain_clients_are_kept_apart() {
    let mut name = Name::root();
    name.assign(b"\x07example\x03org\0").unwrap();
    let key = |dnssec, checking| CacheKey::of(&name, kind::A, 0, dnssec, checking);
    let cache = Cache::new(LIMITS);
    cache.keep(key(true, false).octets(), &Arc::new(Entry::new(0, false, 60, 0, &[])));
    assert!(cache.find(&key(true, false), 0).is_some());
    assert!(cache.find(&key(false, false), 0).is_none());
    assert!(cache.find(&key(true, true), 0).is_none());
    assert!(cache.find(&CacheKey::of(&name, kind::A, 1, true, false), 0).is_none(), "other upstreams");
}

#[test]
fn the_cache_knows_fresh_from_stale_and_stays_within_its_memory() {
    let mut name = Name::root();
    name.assign(b"\x07example\x03org\0").unwrap();
    let key = CacheKey::of(&name, kind::A, 0, false, false);
    let cache = Cache::new(LIMITS);
    cache.keep(key.octets(), &Arc::new(Entry::new(0, false, 100, 0, &[])));
    let at = |seconds: u64| cache.find(&key, seconds * 1000).map(|(_, freshness)| freshness);
    assert_eq!(at(10), Some(Freshness::Fresh));
    assert_eq!(at(95), Some(Freshness::Fresh), "one use is no reason to ask again");
    assert_eq!((at(95), at(95)), (Some(Freshness::Fresh), Some(Freshness::EndsSoon)));
    assert_eq!(at(150), Some(Freshness::Stale));
    assert_eq!(at(800), Some(Freshness::Over));
    cache.keep(b"for one question", &Arc::new(Entry::new(0, false, 0, 0, &[])));
    assert_eq!(cache.size().0, 1);
    for number in 0..20_000u32 {
        cache.keep(&number.to_be_bytes(), &Arc::new(Entry::new(0, false, 60, 0, &[])));
    }
    assert!(cache.size().1 <= LIMITS.octets);
}

proptest::proptest! {
    #[test]
    fn damaged_answers_are_refused_or_read_but_never_fatal(at in 0usize..120, octet: u8, cut in 0usize..120) {
        let says = [
            Say::Alias("www.example.org", 60, "cdn.example.net"),
            Say::Address("cdn.example.net", 20, [192, 0, 2, 1]),
            Say::Denial("example.org", 1, 1),
        ];
        let mut octets = answer(0, "www.example.org", &says);
        if let Some(damaged) = octets.get_mut(at) { *damaged = octet; }
        octets.truncate(octets.len().min(cut + 20));
        let question = super::question("www.example.org");
        let wire = [question.name.wire(), &[0, 1, 0, 1]].concat();
        let expected = Expected { id: 7, question: &wire, name: &question.name, kind: kind::A };
        if let Ok(entry) = read(&octets, expected, &LIMITS, 0) {
            shown(&entry, "www.example.org", 0);
        }
    }
}
