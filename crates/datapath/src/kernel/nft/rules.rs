//! Chains and rules.

use std::fmt::Write as _;

use nlink::netlink::nftables::{
    BaseChain, Chain, ChainName, CmpOp, Expr, Family, Field, FilterHook, LimitUnit, LogExpr, LookupExpr, Match,
    MetaKey, NatHook, NatStatement, Object, PayloadBase, Priority, Register, Rule, Stmt, Transaction, Value, Verdict,
};
use seaway_model::DropReason;
use sha2::{Digest, Sha256};

use super::{TABLE, sets};
use crate::support::Backend;

/// Netlink group that gets a copy of dropped packets.
pub(crate) const LOG_GROUP: u16 = 83;
/// Bytes copied of each: IPv6 header, an extension header, and ports.
const LOG_BYTES: u32 = 96;
/// Copies a second and reason: a flood of drops must not become a flood of events.
const LOG_PER_SECOND: u64 = 100;
/// ICMPv6 type of a neighbor advertisement (RFC 4861 §4.4).
const NEIGHBOR_ADVERTISEMENT: u64 = 136;

type Result<T> = std::result::Result<T, nlink::Error>;

/// Name of the counter of a reason.
pub(crate) fn counter_name(reason: DropReason) -> String {
    format!("drop_{}", reason.label())
}

/// Adds sets, chains and rules to a new `inet` table.
pub(crate) fn add_inet(
    mut transaction: Transaction,
    backend: Backend,
    tunnel_port: Option<u16>,
) -> Result<Transaction> {
    for set in sets::all(Family::Inet) {
        transaction = transaction.add_set(set);
    }
    for reason in reasons(backend) {
        transaction = transaction.add_object(&Object::counter(TABLE, &counter_name(reason)));
        transaction = transaction.add_chain(Chain::new(TABLE, counter_name(reason).as_str())?.family(Family::Inet));
    }
    if backend == Backend::Nftables {
        let raw = BaseChain::filter(FilterHook::Prerouting, Priority::Raw);
        transaction = transaction.add_chain(Chain::new(TABLE, "from_pod")?.family(Family::Inet));
        transaction = transaction.add_chain(Chain::new(TABLE, "prerouting")?.family(Family::Inet).base(raw));
    }
    let input = BaseChain::filter(FilterHook::Input, Priority::Filter);
    transaction = transaction.add_chain(Chain::new(TABLE, "input")?.family(Family::Inet).base(input));
    let source_nat = BaseChain::nat(NatHook::Postrouting, Priority::SrcNat);
    transaction = transaction.add_chain(Chain::new(TABLE, "postrouting")?.family(Family::Inet).base(source_nat));
    for rule in inet(backend, tunnel_port)? {
        transaction = transaction.add_rule(rule);
    }
    Ok(transaction)
}

/// Adds sets, chains and rules to a new `arp` table.
pub(crate) fn add_arp(mut transaction: Transaction) -> Result<Transaction> {
    for set in sets::all(Family::Arp) {
        transaction = transaction.add_set(set);
    }
    let reason = DropReason::SpoofedNeighbor;
    transaction = transaction.add_object(&Object::counter(TABLE, &counter_name(reason)).family(Family::Arp));
    transaction = transaction.add_chain(Chain::new(TABLE, counter_name(reason).as_str())?.family(Family::Arp));
    let input = BaseChain::filter(FilterHook::Input, Priority::Filter);
    transaction = transaction.add_chain(Chain::new(TABLE, "input")?.family(Family::Arp).base(input));
    for rule in arp()? {
        transaction = transaction.add_rule(rule);
    }
    Ok(transaction)
}

/// Comments of all rules of the `inet` table.
pub(crate) fn inet_comments(backend: Backend, tunnel_port: Option<u16>) -> Vec<String> {
    let rules = inet(backend, tunnel_port).unwrap_or_default();
    rules.iter().filter_map(|rule| rule.comment_ref().map(str::to_owned)).collect()
}

/// Reasons for which the `inet` table drops.
fn reasons(backend: Backend) -> Vec<DropReason> {
    let mut reasons = vec![DropReason::UntrustedTunnel];
    if backend == Backend::Nftables {
        reasons.extend([DropReason::SpoofedSourceMac, DropReason::SpoofedSourceIp, DropReason::SpoofedNeighbor]);
    }
    reasons
}

fn inet(backend: Backend, tunnel_port: Option<u16>) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for reason in reasons(backend) {
        rules.extend(drop_rules(reason, Family::Inet));
    }
    if backend == Backend::Nftables {
        rules.extend(from_pod()?);
    }
    if let Some(port) = tunnel_port {
        let strangers = |field, set| {
            let rule = rule("input").match_udp_dport(port).then(Match::ne(field, Value::set(set)));
            rule.goto_drop(DropReason::UntrustedTunnel)
        };
        rules.push(named(strangers(Field::Ip4Saddr, "tunnel_peers_v4")?, "IPv4 tunnel packets come from nodes"));
        rules.push(named(strangers(Field::Ip6Saddr, "tunnel_peers_v6")?, "IPv6 tunnel packets come from nodes"));
    }
    for (family, source, destination) in
        [("v4", Field::Ip4Saddr, Field::Ip4Daddr), ("v6", Field::Ip6Saddr, Field::Ip6Daddr)]
    {
        let sources = format!("masquerade_sources_{family}");
        let exceptions = format!("masquerade_exceptions_{family}");
        let masquerade = rule("postrouting")
            .then(Match::eq(source, Value::set(&sources)))
            .then(Match::ne(destination, Value::set(&exceptions)))
            // Random ports keep two pods' flows to one server from racing for the same one.
            .nat(NatStatement::masquerade().fully_random());
        rules.push(named(masquerade, &format!("Pods leave the cluster with the node's {family} address")));
    }
    Ok(rules)
}

/// What pods may send. The order matters: MAC, then claims about neighbors, then sources.
fn from_pod() -> Result<Vec<Rule>> {
    let jump = rule("prerouting").then(Match::eq(Field::Iif, Value::set("pod_links"))).then(jump("from_pod")?);
    let mac = sent_with_others(rule("from_pod"), &ETHER_SOURCE, "pod_macs").goto_drop(DropReason::SpoofedSourceMac)?;
    let v4 = rule("from_pod").then(Match::eq(Field::NfProto, Value::Int(2)));
    let v4 = sent_with_others(v4, &IPV4_SOURCE, "pod_addresses_v4").goto_drop(DropReason::SpoofedSourceIp)?;
    // The host never asks for link-local addresses, so claiming them does nothing.
    let claim = rule("from_pod").then(Match::eq(Field::Icmp6Type, Value::Int(NEIGHBOR_ADVERTISEMENT)));
    let claim = not_link_local(claim, &ADVERTISED_TARGET);
    let claim =
        sent_with_others(claim, &ADVERTISED_TARGET, "pod_addresses_v6").goto_drop(DropReason::SpoofedNeighbor)?;
    // Link-local and unspecified sources (RFC 4291 §2.5.2, §2.5.6) serve neighbor
    // discovery and multicast membership; the kernel never forwards them.
    let link_local = rule("from_pod").match_saddr_v6("fe80::".parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED), 10);
    let link_local = link_local.then(Verdict::Return);
    let unspecified = rule("from_pod").match_saddr_v6(std::net::Ipv6Addr::UNSPECIFIED, 128).then(Verdict::Return);
    let v6 = rule("from_pod").then(Match::eq(Field::NfProto, Value::Int(10)));
    let v6 = sent_with_others(v6, &IPV6_SOURCE, "pod_addresses_v6").goto_drop(DropReason::SpoofedSourceIp)?;
    Ok(vec![
        named(jump, "Packets from pods are checked"),
        named(mac, "Pods send with their own MAC"),
        named(v4, "Pods send with their own IPv4 address"),
        named(claim, "Pods advertise their own address"),
        named(link_local, "Link-local sources stay on the link"),
        named(unspecified, "The unspecified source stays on the link"),
        named(v6, "Pods send with their own IPv6 address"),
    ])
}

fn arp() -> Result<Vec<Rule>> {
    let mut rules = drop_rules(DropReason::SpoofedNeighbor, Family::Arp);
    for (field, set, purpose) in [
        (&ARP_SENDER_MAC, "pod_macs", "Pods claim their own MAC"),
        (&ARP_SENDER_IPV4, "pod_addresses_v4", "Pods claim their own IPv4 address"),
    ] {
        let from_pod = rule("input").family(Family::Arp).then(Match::eq(Field::Iif, Value::set("pod_links")));
        let claim = sent_with_others(from_pod, field, set).goto_drop(DropReason::SpoofedNeighbor)?;
        rules.push(named(claim, purpose));
    }
    Ok(rules)
}

/// Tell, count, drop.
fn drop_rules(reason: DropReason, family: Family) -> Vec<Rule> {
    let chain = counter_name(reason);
    let log = LogExpr::new().prefix(reason.label()).group(LOG_GROUP).snaplen(LOG_BYTES);
    let tell = rule(&chain).family(family).limit(LOG_PER_SECOND, LimitUnit::Second).then(Stmt::Log(log));
    let drop = rule(&chain).family(family).counter_named(&chain).drop();
    vec![named(tell, &format!("Tell of {reason}")), named(drop, &format!("Count and drop {reason}"))]
}

/// Bytes of a packet.
struct PacketBytes {
    base: PayloadBase,
    offset: u32,
    length: u32,
}

const ETHER_SOURCE: PacketBytes = PacketBytes { base: PayloadBase::LinkLayer, offset: 6, length: 6 };
const IPV4_SOURCE: PacketBytes = PacketBytes { base: PayloadBase::Network, offset: 12, length: 4 };
const IPV6_SOURCE: PacketBytes = PacketBytes { base: PayloadBase::Network, offset: 8, length: 16 };
/// Target address of a neighbor advertisement (RFC 4861 §4.4).
const ADVERTISED_TARGET: PacketBytes = PacketBytes { base: PayloadBase::Transport, offset: 8, length: 16 };
/// Sender of an ARP message for Ethernet and IPv4 (RFC 826).
const ARP_SENDER_MAC: PacketBytes = PacketBytes { base: PayloadBase::Network, offset: 8, length: 6 };
const ARP_SENDER_IPV4: PacketBytes = PacketBytes { base: PayloadBase::Network, offset: 14, length: 4 };

impl PacketBytes {
    fn load(&self, dreg: Register) -> Expr {
        Expr::Payload { dreg, base: self.base, offset: self.offset, len: self.length }
    }
}

/// Matches when the interface with `bytes` is not in `set`.
fn sent_with_others(rule: Rule, bytes: &PacketBytes, set: &str) -> Rule {
    // A concatenation: the interface in the first 32-bit register, the bytes after it.
    rule.expr(Expr::Meta { dreg: Register::R0, key: MetaKey::Iif })
        .expr(bytes.load(Register::Reg32_01))
        .expr(LookupExpr::new(set, Register::R0).invert())
}

/// Matches when `bytes` are no link-local IPv6 address.
fn not_link_local(rule: Rule, bytes: &PacketBytes) -> Rule {
    let mask: Vec<u8> = [0xff, 0xc0].into_iter().chain([0; 14]).collect();
    let link_local: Vec<u8> = [0xfe, 0x80].into_iter().chain([0; 14]).collect();
    rule.expr(bytes.load(Register::R0))
        .expr(Expr::Bitwise { sreg: Register::R0, dreg: Register::R0, len: 16, mask, xor: vec![0; 16] })
        .expr(Expr::Cmp { sreg: Register::R0, op: CmpOp::Neq, data: link_local })
}

fn rule(chain: &str) -> Rule {
    Rule::new(TABLE, chain).family(Family::Inet)
}

fn jump(chain: &str) -> Result<Verdict> {
    Ok(Verdict::JumpTo(ChainName::new(chain)?))
}

/// Names a rule by its purpose and a fingerprint of what it does.
fn named(rule: Rule, purpose: &str) -> Rule {
    let mut comment = format!("{purpose} #");
    for byte in Sha256::digest(format!("{rule:?}")).iter().take(4) {
        let _ = write!(comment, "{byte:02x}");
    }
    rule.comment(&comment)
}

trait GotoDrop: Sized {
    fn goto_drop(self, reason: DropReason) -> Result<Rule>;
}

impl GotoDrop for Rule {
    fn goto_drop(self, reason: DropReason) -> Result<Rule> {
        Ok(self.then(Verdict::GotoTo(ChainName::new(counter_name(reason))?)))
    }
}
