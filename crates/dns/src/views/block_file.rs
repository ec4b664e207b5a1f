//! Block lists as files: names, or lines of `/etc/hosts` whose addresses are of no interest.

use std::net::IpAddr;

use super::compile::pattern;
use super::names::{NameSet, NameSetBuilder};
use super::zone_file::TextFault;

/// Names that lists in the form of `/etc/hosts` carry for the host itself.
const OF_THE_HOST: [&str; 8] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-allnodes",
];

/// Reads a list: on each line a name, `*.` and a name, or an address and names; `#` begins a comment.
///
/// # Errors
/// The first word that is none of them.
pub fn parse(text: &str) -> Result<NameSet, TextFault> {
    let mut names = NameSetBuilder::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        let mut words = content.split_ascii_whitespace().peekable();
        let hosts = words.next_if(|word| word.parse::<IpAddr>().is_ok()).is_some();
        for word in words {
            if hosts && (OF_THE_HOST.contains(&word) || word.starts_with("ip6-") || word.parse::<IpAddr>().is_ok()) {
                continue;
            }
            let Some((name, below)) = pattern(word) else {
                let column = line.find(word).map_or(1, |at| at + 1);
                return Err(TextFault { line: index + 1, column, reason: format!("{word:?} is no domain name") });
            };
            names.add(name.wire(), below);
        }
    }
    Ok(names.finish())
}
