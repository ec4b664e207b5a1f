//! Name servers of the host, from `/etc/resolv.conf` (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};

/// Where it is; systemd-resolved keeps the servers it asks itself in another file,
/// because its own address is one that only the host can reach.
const FILES: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// The host's name servers in the order of the file.
#[must_use]
pub fn name_servers() -> Vec<SocketAddr> {
    let texts = FILES.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.map(|text| parse(&text)).find(|servers| !servers.is_empty()).unwrap_or_default()
}

/// Servers that are taken from one file; resolvers stop at three (resolv.conf(5), MAXNS).
pub const MOST_SERVERS: usize = 16;

/// Name servers in the order of the text; what is none is passed over.
#[must_use]
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        // A scope (`fe80::1%eth0`) cannot be kept in an address.
        words.next()?.parse::<IpAddr>().ok()
    });
    servers.map(|address| SocketAddr::new(address, 53)).take(MOST_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_order_and_nonsense_is_passed_over() {
        let text = "# comment\nsearch a b\nnameserver 10.0.0.2\n nameserver fd00::1 # two\nnameserver nobody\n";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "[fd00::1]:53"]);
    }
}
