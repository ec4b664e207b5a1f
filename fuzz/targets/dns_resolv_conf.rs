//! `/etc/resolv.conf`, and upstreams as the configuration writes them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_dns::daemon::resolv_conf;
use seaway_dns::wire::OwnedName;
use seaway_runtime::config::DnsUpstream;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(resolv_conf::parse(text).len() <= resolv_conf::MOST_SERVERS);
    let _ = DnsUpstream::parse(text);
    if let Ok(name) = OwnedName::parse(text) {
        assert_eq!(OwnedName::from_wire(name.wire()).unwrap(), name);
    }
});
