//! The section `dns`: what is written, and what `seaway dns` makes of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::validate::Findings;
use super::{ConfigError, Log, RawConfig};

/// Configuration of `seaway dns`, valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsConfig {
    /// Everything of the section `dns` that needs no meaning given to it.
    #[serde(flatten)]
    pub plain: RawDns,
    /// Whom to ask for names of others; empty: those of `/etc/resolv.conf`.
    pub upstreams: Vec<DnsUpstream>,
    /// Whom to ask for names below a domain.
    pub stub_domains: BTreeMap<String, Vec<DnsUpstream>>,
    /// Directory of the agent's socket and of ours.
    pub run: PathBuf,
    /// Logs.
    pub log: Log,
}

/// The section `dns` as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RawDns {
    /// Domain of the cluster.
    pub domain: String,
    /// Addresses to answer at; empty: those given on the command line.
    pub listen: Vec<IpAddr>,
    /// Port to answer at.
    pub port: u16,
    /// Port for DNS over TLS (RFC 7858), with `tls`.
    pub tls_port: u16,
    /// Certificate chain and key for DNS over TLS.
    pub tls: Option<DnsTls>,
    /// Addresses of the DNS Service, told as those of `ns.dns.<domain>`.
    pub service_addresses: Vec<IpAddr>,
    /// Seconds that answers about the cluster may be kept.
    pub ttl_seconds: u32,
    /// Names of pods by address.
    pub pods: DnsPods,
    /// Endpoints without a host name are called as their pod, not by their address.
    pub endpoint_pod_names: bool,
    /// Domain of Services of other clusters (KEP-1645); empty: there are none.
    pub cluster_set_domain: String,
    /// Zones for addresses that are reached from outside.
    pub external_zones: Vec<DnsExternalZone>,
    /// Search lists of pods are walked by the server.
    pub search: bool,
    #[serde(skip_serializing)]
    upstreams: Vec<String>,
    /// How one of several upstreams is picked.
    pub policy: DnsPolicy,
    #[serde(skip_serializing)]
    stub_domains: BTreeMap<String, Vec<String>>,
    /// Roots of trust for upstreams over TLS, as PEM; absent: those of the system.
    pub trusted_roots: Option<PathBuf>,
    /// Answers of upstreams that are kept.
    pub cache: DnsCache,
    /// Addresses of names beside the cluster's.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Zones in master files, by the zone's name.
    pub zone_files: BTreeMap<String, PathBuf>,
    /// Files with names that are kept from clients.
    pub block_files: Vec<PathBuf>,
    /// Clients that are served; empty: all.
    pub allowed_clients: Vec<IpNet>,
    /// Queries a second of one client; 0: no limit.
    pub queries_per_second_per_client: u32,
    /// Queries that take longer are called slow.
    pub slow_milliseconds: u32,
    /// Threads that answer; 0: one per processor that may be used.
    pub threads: u16,
    /// Seconds without the agent after which the server says that it is not ready; 0: it answers on.
    pub unready_after_seconds: u32,
    /// Where `/metrics`, `/health` and `/ready` are asked.
    pub admin: SocketAddr,
}

/// Names of pods by address (`<dashed address>.<namespace>.pod.<domain>`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsPods {
    /// There are none.
    Disabled,
    /// Every address has one in every namespace.
    #[default]
    Insecure,
    /// Addresses of pods of that namespace only.
    Verified,
}

/// A zone for addresses that are reached from outside: its name alone, or with how it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "WrittenZone")]
pub struct DnsExternalZone {
    /// Its name.
    pub name: String,
    /// Headless Services have names in it, too.
    pub headless: bool,
    /// Names that it does not have are asked of upstreams.
    pub fall_through: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenZone {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Whole {
        name: String,
        #[serde(default)]
        headless: bool,
        #[serde(default)]
        fall_through: bool,
    },
}

impl From<WrittenZone> for DnsExternalZone {
    fn from(written: WrittenZone) -> Self {
        match written {
            WrittenZone::Name(name) => Self { name, headless: false, fall_through: false },
            WrittenZone::Whole { name, headless, fall_through } => Self { name, headless, fall_through },
        }
    }
}

/// How one of several upstreams is picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsPolicy {
    /// Any.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The first that works.
    Sequential,
}

/// Certificate chain and key, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsTls {
    /// File of the certificate chain.
    pub certificate: PathBuf,
    /// File of the private key.
    pub key: PathBuf,
}

/// Limits of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DnsCache {
    /// Bytes of memory.
    pub max_bytes: u64,
    /// Longest time a positive answer is kept.
    pub max_ttl_seconds: u32,
    /// Longest time a negative answer is kept.
    pub max_negative_ttl_seconds: u32,
    /// How long after its end an answer may stand in when no upstream answers.
    pub serve_stale_seconds: u32,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsUpstream {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub transport: DnsTransport,
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsTransport {
    /// Datagrams, and TCP for what does not fit.
    Udp,
    /// TCP always.
    Tcp,
    /// TLS, with the name its certificate must have.
    Tls(String),
    /// HTTPS (RFC 8484), with the name its certificate must have, or its address, and the path.
    Https {
        /// The name; none: the address.
        name: Option<String>,
        /// The path.
        path: String,
    },
}

// === impl RawConfig ===

impl RawConfig {
    /// The configuration of `seaway dns`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every unusable value.
    pub fn dns(self) -> Result<DnsConfig, ConfigError> {
        let mut findings = Findings::default();
        let dns = self.dns;
        let upstreams = upstreams("dns.upstreams", &dns.upstreams, &mut findings);
        let stub_domains = dns.stub_domains.iter().map(|(domain, texts)| {
            domain_name("dns.stubDomains", domain, &mut findings);
            if texts.is_empty() {
                findings.add("dns.stubDomains", domain, "has no upstreams");
            }
            (domain.clone(), self::upstreams("dns.stubDomains", texts, &mut findings))
        });
        let stub_domains = stub_domains.collect();
        domain_name("dns.domain", &dns.domain, &mut findings);
        zones(&dns, &mut findings);
        dns.hosts.keys().for_each(|name| domain_name("dns.hosts", name, &mut findings));
        dns.zone_files.keys().for_each(|name| domain_name("dns.zoneFiles", name, &mut findings));
        findings.networks("dns.allowedClients", &dns.allowed_clients);
        if dns.port == 0 {
            findings.add("dns.port", 0, "must be 1 to 65535");
        }
        if dns.ttl_seconds > 3600 {
            findings.add("dns.ttlSeconds", dns.ttl_seconds, "must be at most 3600");
        }
        if dns.cache.max_bytes < 1 << 16 {
            findings.add("dns.cache.maxBytes", dns.cache.max_bytes, "must be at least 65536");
        }
        findings.into_result()?;
        Ok(DnsConfig { plain: dns, upstreams, stub_domains, run: self.paths.run, log: self.log })
    }
}

/// Each zone of ours has a domain of its own.
fn zones(dns: &RawDns, findings: &mut Findings) {
    let bare = |domain: &str| domain.trim_end_matches('.').to_ascii_lowercase();
    let mut known = vec![bare(&dns.domain)];
    let others = dns.external_zones.iter().map(|zone| ("dns.externalZones", &zone.name));
    let cluster_set = Some(("dns.clusterSetDomain", &dns.cluster_set_domain)).filter(|(_, domain)| !domain.is_empty());
    for (field, domain) in cluster_set.into_iter().chain(others) {
        domain_name(field, domain, findings);
        if known.contains(&bare(domain)) {
            findings.add(field, format!("{domain:?}"), "is served as another zone already");
        }
        known.push(bare(domain));
    }
}

fn domain_name(field: &'static str, text: &str, findings: &mut Findings) {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() || bare.len() > 253 || bare.split('.').any(|label| label.is_empty() || label.len() > 63) {
        findings.add(field, format!("{text:?}"), "is no domain name");
    }
}

fn upstreams(field: &'static str, texts: &[String], findings: &mut Findings) -> Vec<DnsUpstream> {
    let mut found = Vec::new();
    for text in texts {
        match DnsUpstream::parse(text) {
            Some(upstream) => found.push(upstream),
            None => findings.add(
                field,
                format!("{text:?}"),
                "is none of 10.0.0.1, 10.0.0.1:5353, tcp://10.0.0.1, tls://10.0.0.1#dns.example.org, \
                 https://10.0.0.1/dns-query#dns.example.org",
            ),
        }
    }
    found
}

/// Where DNS over HTTPS is asked unless said otherwise: what RFC 8484 uses as its example.
const HTTPS_PATH: &str = "/dns-query";

// === impl DnsUpstream ===

impl DnsUpstream {
    /// Reads `10.0.0.1`, `[fd00::1]:5353`, `tcp://…`, `tls://…#name`, or `https://…/path#name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let (place, name) = rest.split_once('#').map_or((rest, None), |(place, name)| (place, Some(name)));
        let (transport, usual_port) = match (scheme, name) {
            ("udp", None) => (DnsTransport::Udp, 53),
            ("tcp", None) => (DnsTransport::Tcp, 53),
            ("tls", Some(name)) if !name.is_empty() => (DnsTransport::Tls(name.to_owned()), 853),
            ("https", name) if name != Some("") => {
                let path = place.find('/').map_or(HTTPS_PATH, |at| place.get(at..).unwrap_or_default());
                // What a request line cannot carry.
                if !path.bytes().all(|octet| octet.is_ascii_graphic()) {
                    return None;
                }
                (DnsTransport::Https { name: name.map(str::to_owned), path: path.to_owned() }, 443)
            }
            _ => return None,
        };
        let place = match &transport {
            DnsTransport::Https { .. } => place.split_once('/').map_or(place, |(place, _)| place),
            _ => place,
        };
        let bare = place.trim_start_matches('[').trim_end_matches(']');
        let address = place.parse().or_else(|_| bare.parse().map(|ip| SocketAddr::new(ip, usual_port))).ok()?;
        Some(Self { address, transport })
    }
}

// === defaults ===

impl Default for RawDns {
    fn default() -> Self {
        Self {
            domain: "cluster.local".to_owned(),
            listen: Vec::new(),
            port: 53,
            tls_port: 853,
            tls: None,
            service_addresses: Vec::new(),
            // CoreDNS's: clients notice a changed Service within five seconds.
            ttl_seconds: 5,
            pods: DnsPods::default(),
            endpoint_pod_names: false,
            cluster_set_domain: "clusterset.local".to_owned(),
            external_zones: Vec::new(),
            search: true,
            upstreams: Vec::new(),
            policy: DnsPolicy::default(),
            stub_domains: BTreeMap::new(),
            trusted_roots: None,
            cache: DnsCache::default(),
            hosts: BTreeMap::new(),
            zone_files: BTreeMap::new(),
            block_files: Vec::new(),
            allowed_clients: Vec::new(),
            queries_per_second_per_client: 0,
            slow_milliseconds: 500,
            threads: 0,
            unready_after_seconds: 0,
            // The port that scrapes of CoreDNS know. Its ports for health and readiness are left
            // alone: on a host's own network they are taken more often than not.
            admin: SocketAddr::from(([0, 0, 0, 0], 9153)),
        }
    }
}

impl Default for DnsCache {
    fn default() -> Self {
        Self {
            max_bytes: 32 << 20,
            max_ttl_seconds: 3600,
            // A name that does not exist yet must not stick (CoreDNS: 30 s; pods retry sooner).
            max_negative_ttl_seconds: 30,
            serve_stale_seconds: 3600,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_written_in_four_ways() {
        let at = |text: &str| DnsUpstream::parse(text).map(|upstream| upstream.address.to_string());
        assert_eq!(at("10.0.0.1").as_deref(), Some("10.0.0.1:53"));
        assert_eq!(at("10.0.0.1:5353").as_deref(), Some("10.0.0.1:5353"));
        assert_eq!(at("tcp://fd00::1").as_deref(), Some("[fd00::1]:53"));
        assert_eq!(at("tls://[fd00::1]:8853#dns.example.org").as_deref(), Some("[fd00::1]:8853"));
        assert_eq!(at("https://[fd00::1]:8443/q#dns.example.org").as_deref(), Some("[fd00::1]:8443"));
        let https = DnsUpstream::parse("https://10.0.0.1").unwrap();
        assert_eq!(https.address.port(), 443);
        assert_eq!(https.transport, DnsTransport::Https { name: None, path: "/dns-query".to_owned() });
        for wrong in
            ["dns.example.org", "tls://10.0.0.1", "https://10.0.0.1#", "https://dns.example.org", "10.0.0.1#name", ""]
        {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let text = "dns:\n  domain: a..b\n  upstreams: [nobody]\n  port: 0\n  stubDomains: {corp: []}\n";
        let error = RawConfig::parse(text, "test").unwrap().dns().unwrap_err().to_string();
        for field in ["dns.domain", "dns.upstreams", "dns.port", "dns.stubDomains"] {
            assert!(error.contains(field), "{error}");
        }
        assert_eq!(RawConfig::default().dns().unwrap().plain.domain, "cluster.local");
    }
}
