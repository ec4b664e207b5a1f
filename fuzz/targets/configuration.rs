//! The configuration file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_model::NodeName;
use seaway_runtime::RawConfig;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(raw) = RawConfig::parse(text, "fuzz") {
        let _ = raw.clone().controller("fuzz".to_owned());
        let _ = raw.agent(NodeName::from("fuzz"));
    }
});
