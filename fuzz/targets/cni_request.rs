//! What a container runtime writes: the CNI configuration, with `CNI_ARGS` from
//! its first line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_cni::command::{Command, Variables};
use seaway_cni::config::NetworkConfig;
use seaway_cni::request::request_for;

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (arguments, config) = data.split_at(split);
    let Ok(config) = NetworkConfig::parse(config) else { return };
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let variables: Variables = [
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", "sandbox".to_owned()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_NETNS", "/run/netns/x".to_owned()),
            ("CNI_ARGS", String::from_utf8_lossy(arguments).into_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Ok(command) = Command::from_variables(&variables) {
            let _ = request_for(&command, &config);
        }
    }
});
