use proptest::prelude::*;

use super::query::{self, Malformed};
use super::response::EdnsAnswer;
use super::*;

const QUERY: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03WeB\x04shop\0\0\x01\0\x01";

fn with_additional(record: &[u8]) -> Vec<u8> {
    let mut message = QUERY.to_vec();
    message[11] = 1;
    message.extend_from_slice(record);
    message
}

fn refused(message: &[u8]) -> Option<u8> {
    match query::read(message, &mut Name::root()) {
        Err(Malformed::Refuse { rcode, .. }) => Some(rcode),
        _ => None,
    }
}

#[test]
fn a_query_is_read_without_losing_its_case() {
    let mut name = Name::root();
    let query = query::read(QUERY, &mut name).unwrap();
    assert_eq!((query.id, query.kind, query.class, query.recursion_desired()), (0x1234, 1, 1, true));
    assert_eq!((name.to_string().as_str(), name.labels()), ("web.shop.", 2));
    let mut buffer = [0; 512];
    let response = Response::new(&mut buffer, 512, &query).finish(None);
    assert_eq!(&response[12..], &QUERY[12..]);
}

#[test]
fn a_zoo_of_messages_gets_the_code_of_the_standards_or_silence() {
    let change = |at: usize, octet: u8| {
        let mut message = QUERY.to_vec();
        message[at] = octet;
        message
    };
    for opcode in 1..16 {
        assert_eq!(refused(&change(2, opcode << 3)), Some(4), "opcode {opcode}");
    }
    for questions in [0, 2, 255] {
        assert_eq!(refused(&change(5, questions)), Some(1), "{questions} questions");
    }
    let silent = |message: &[u8]| matches!(query::read(message, &mut Name::root()), Err(Malformed::Silence));
    assert!(silent(&change(2, 0x80)), "a response is not answered");
    assert!((0..12).all(|length| silent(&QUERY[..length])));
    for length in 12..QUERY.len() {
        assert_eq!(refused(&QUERY[..length]), Some(1), "cut after {length} octets");
    }
    assert_eq!(refused(&change(12, 0xc0)), Some(1), "a pointer in the question");
    assert_eq!(refused(&change(12, 0x40)), Some(1), "a label type that is gone");
}

#[test]
fn edns_is_read_strictly() {
    let opt = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
    let mut name = Name::root();
    let message = with_additional(opt);
    let edns = query::read(&message, &mut name).unwrap().edns.unwrap();
    assert_eq!((edns.payload_octets, edns.dnssec, edns.cookie), (4096, true, None));
    assert_eq!(refused(&with_additional(b"\0\0\x29\x10\0\0\x01\0\0\0\0")), Some(16), "another version");
    let mut twice = with_additional(opt);
    twice[11] = 2;
    twice.extend_from_slice(opt);
    assert_eq!(refused(&twice), Some(1), "two OPT records");
    assert_eq!(refused(&with_additional(b"\0\0\x29\x10\0\0\0\0\0\0\x05")), Some(1), "data that is not there");
    let short_cookie = b"\0\0\x29\x10\0\0\0\0\0\0\x07\0\x0a\0\x03abc";
    assert_eq!(refused(&with_additional(short_cookie)), Some(1), "a cookie of three octets");
}

#[test]
fn names_have_limits() {
    let long: Vec<u8> = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3);
    let fits = [long.as_slice(), b"\x3d", &[b'b'; 61], b"\0"].concat();
    let over = [long.as_slice(), b"\x3e", &[b'b'; 62], b"\0"].concat();
    let mut name = Name::root();
    assert_eq!(name.assign(&fits), Ok(()));
    assert_eq!(name.wire().len(), 255);
    assert_eq!(name.assign(&over), Err(NameError::Long));
    assert_eq!(OwnedName::parse("a..b"), Err(NameError::Label));
    assert_eq!(OwnedName::parse("Example.ORG.").unwrap().to_string(), "example.org.");
    assert_eq!(OwnedName::parse(".").unwrap().labels(), 0);
}

#[test]
fn records_that_do_not_fit_set_tc_and_leave_room_for_opt() {
    let message = with_additional(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    let mut name = Name::root();
    let query = query::read(&message, &mut name).unwrap();
    let mut buffer = [0; 4096];
    let mut response = Response::new(&mut buffer, 200, &query);
    let owner = response::Owner::At(name::Place::QUESTION);
    let address = "10.0.0.1".parse().unwrap();
    let written = (0..50).take_while(|_| response.push_address(Section::Answer, owner, 5, address).is_some()).count();
    assert!(response.is_truncated());
    let edns = EdnsAnswer { payload_octets: 1232, dnssec: false, cookie: Some([7; 24]) };
    let octets = response.finish(Some(edns));
    assert!(octets.len() <= 200 && octets.len() > 180, "{}", octets.len());
    let message = domain::base::Message::from_octets(octets).unwrap();
    assert_eq!(usize::from(message.header_counts().ancount()), written);
    assert!(message.header().tc() && message.opt().is_some());
}

proptest! {
    #[test]
    fn anything_can_be_read(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut name = Name::root();
        let _ = query::read(&message, &mut name);
        prop_assert!(name.wire().len() <= 255);
    }

    #[test]
    fn a_damaged_query_is_never_read_beyond_its_end(at in 0usize..26, octet: u8, length in 0usize..26) {
        let mut message = QUERY.to_vec();
        if let Some(damaged) = message.get_mut(at) { *damaged = octet; }
        message.truncate(length);
        let mut name = Name::root();
        if let Ok(query) = query::read(&message, &mut name) {
            prop_assert!(query.question.len() <= message.len());
        }
    }
}
