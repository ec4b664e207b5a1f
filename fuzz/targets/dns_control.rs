//! What comes through the DNS server's socket. Whatever is understood must be written and
//! read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_model::dns_api::{DnsAnswer, DnsRequest};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<DnsRequest>(data) {
        let text = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<DnsRequest>(&text).unwrap(), request);
    }
    if let Ok(answer) = serde_json::from_slice::<DnsAnswer>(data) {
        let text = serde_json::to_vec(&answer).unwrap();
        assert_eq!(serde_json::from_slice::<DnsAnswer>(&text).unwrap(), answer);
    }
});
