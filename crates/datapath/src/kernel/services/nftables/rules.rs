//! Chains and rules of the table that translates. They do not change with Services; only a
//! class (a way to choose among so many slots) that nobody had yet brings a chain of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::batch::{Batch, Hook};
use super::layout::{Bytes, Purpose, SERVICES_TABLE, SetId};
use super::rule::{Base, Ct, Learn, Meta, Nat, Register, Rule, Verdict};

/// Registers of a place: address (one or four), protocol, port; then what it leads to.
const PLACE: Register = Register(0);
const CLASS: Register = Register(6);
const SET: Register = Register(7);
/// The set's copy; the slot is drawn into the register after it.
const SET_COPY: Register = Register(14);
const AFFINITY: Register = Register(8);
const CLIENT: Register = Register(10);
/// Where a backend is loaded: address, then port.
const BACKEND: Register = Register(0);

pub(super) const NF_INET_PRE_ROUTING: u32 = 0;
pub(super) const NF_INET_LOCAL_IN: u32 = 1;
pub(super) const NF_INET_FORWARD: u32 = 2;
pub(super) const NF_INET_LOCAL_OUT: u32 = 3;
const NF_INET_POST_ROUTING: u32 = 4;
/// `NF_CT_STATE_INVALID_BIT`.
const STATE_INVALID: u32 = 1;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 1 << 3;
/// `IPS_DST_NAT`.
const STATUS_DESTINATION_TRANSLATED: u32 = 1 << 5;
/// `RTN_LOCAL`: an address of this node.
const ADDRESS_LOCAL: u32 = 2;
/// Destinations are translated here by custom; ours come as everyone's.
const PRIORITY_DSTNAT: i32 = -100;
/// Client ranges are checked before.
const PRIORITY_BEFORE_DSTNAT: i32 = -110;
/// Before other masquerading, so that what ours decide holds.
const PRIORITY_BEFORE_SRCNAT: i32 = 95;

/// How a backend is chosen; one chain each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    /// For places of [`Purpose::Outside`] rather than of [`Purpose::Frontends`].
    pub(super) outside: bool,
    pub(super) v6: bool,
    pub(super) choice: Choice,
    pub(super) affinity_seconds: Option<u32>,
}

/// How a slot is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Choice {
    /// At random among so many.
    Random(u32),
    /// The next of so many; the counter is the rule's, so the class is the set's own.
    Next { slots: u32, set: u32 },
    /// By the client's address, among so many.
    Client(u32),
    /// By addresses and ports, among so many.
    Flow(u32),
}

/// What backends see instead of hidden clients; without one: an address of the device that
/// leads to the backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NodeSources {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

/// Class of places that are not translated for packets from elsewhere; the guard has them.
pub(super) const UNTRANSLATED: u32 = 0;

/// Name of a class's chain.
pub(super) fn class_chain(number: u32) -> String {
    format!("class-{number}")
}

/// The map that leads to a class's chain.
pub(super) fn class_set(class: &Class) -> SetId {
    let purpose = if class.outside { Purpose::OutsideClasses } else { Purpose::InsideClasses };
    SetId::new(purpose, class.v6)
}

/// Registers an address takes, its bytes, and where it stands in the IP header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    pub(super) v6: bool,
    pub(super) registers: u32,
    bytes: u32,
    source_offset: u32,
    destination_offset: u32,
    number: u8,
}

// === impl Family ===

impl Family {
    pub(super) const BOTH: [Family; 2] = [
        Family { v6: false, registers: 1, bytes: 4, source_offset: 12, destination_offset: 16, number: 2 },
        Family { v6: true, registers: 4, bytes: 16, source_offset: 8, destination_offset: 24, number: 10 },
    ];

    fn of(v6: bool) -> Family {
        let [v4_family, v6_family] = Self::BOTH;
        if v6 { v6_family } else { v4_family }
    }

    pub(super) fn set(self, purpose: Purpose) -> SetId {
        SetId::new(purpose, self.v6)
    }

    /// Goes on for packets of the family.
    pub(super) fn only(self, rule: Rule) -> Rule {
        rule.meta(PLACE, Meta::NfProto).equals(PLACE, &[self.number])
    }

    /// Loads destination, protocol and port.
    pub(super) fn load_place(self, rule: Rule) -> Rule {
        self.load_destination(rule).meta(PLACE.after(self.registers), Meta::L4Proto).payload(
            PLACE.after(self.registers + 1),
            Base::Transport,
            2,
            2,
        )
    }

    pub(super) fn load_destination(self, rule: Rule) -> Rule {
        rule.payload(PLACE, Base::Network, self.destination_offset, self.bytes)
    }

    fn load_source(self, rule: Rule, to: Register) -> Rule {
        rule.payload(to, Base::Network, self.source_offset, self.bytes)
    }

    /// Goes on for packets that do not come from this node's pods.
    fn of_strangers(self, rule: Rule) -> Rule {
        self.load_source(rule, CLIENT).outside(CLIENT, self.set(Purpose::LocalPods))
    }
}

fn rule(chain: &str, purpose: &'static str) -> Rule {
    Rule::new(SERVICES_TABLE, chain, purpose)
}

/// Base chains and their hooks.
fn base_chains() -> [(&'static str, Hook); 6] {
    let nat = |number, priority| Hook { kind: "nat", number, priority };
    let filter = |number, priority| Hook { kind: "filter", number, priority };
    [
        ("ranges", filter(NF_INET_PRE_ROUTING, PRIORITY_BEFORE_DSTNAT)),
        ("ranges-output", filter(NF_INET_LOCAL_OUT, PRIORITY_BEFORE_DSTNAT)),
        ("prerouting", nat(NF_INET_PRE_ROUTING, PRIORITY_DSTNAT)),
        ("output", nat(NF_INET_LOCAL_OUT, PRIORITY_DSTNAT)),
        ("forward", filter(NF_INET_FORWARD, 0)),
        ("postrouting", nat(NF_INET_POST_ROUTING, PRIORITY_BEFORE_SRCNAT)),
    ]
}

/// Writes sets, chains and rules into the new table.
pub(super) fn add(batch: &mut Batch, sources: NodeSources) {
    for set in SetId::of_table(SERVICES_TABLE) {
        batch.add_set(&set.definition());
    }
    for (chain, hook) in base_chains() {
        batch.add_chain(SERVICES_TABLE, chain, Some(hook));
    }
    for rule in base_rules(sources) {
        batch.add_rule(&rule);
    }
    for family in Family::BOTH {
        batch.class_element(family.set(Purpose::OutsideClasses), UNTRANSLATED, &Verdict::Accept);
    }
}

/// Writes the rules again that depend on the node's own addresses.
pub(super) fn change_sources(batch: &mut Batch, sources: NodeSources) {
    batch.flush_chain(SERVICES_TABLE, "postrouting");
    for rule in Family::BOTH.into_iter().flat_map(|family| postrouting_rules(family, sources)) {
        batch.add_rule(&rule);
    }
}

/// All rules outside of classes.
pub(super) fn base_rules(sources: NodeSources) -> Vec<Rule> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        rules.extend(range_rules(family));
        // Twice: a packet that met a change between two lookups finds the new state.
        for purpose in ["Translate for packets from elsewhere", "Once more, in case of a change meanwhile"] {
            let chosen = family.of_strangers(family.only(rule("prerouting", purpose)));
            let found = family.load_place(chosen).find(PLACE, family.set(Purpose::Outside), CLASS);
            rules.push(follow_class(found, family.set(Purpose::OutsideClasses)));
        }
        for chain in ["prerouting", "output"] {
            for purpose in ["Translate", "Once more, in case of a change meanwhile"] {
                let found = family.load_place(family.only(rule(chain, purpose)));
                let found = found.find(PLACE, family.set(Purpose::Frontends), CLASS);
                rules.push(follow_class(found, family.set(Purpose::InsideClasses)));
            }
        }
        rules.extend(forward_rules(family));
        rules.extend(postrouting_rules(family, sources));
    }
    rules
}

/// Goes to the chain of the class that was found. By way of a copy of two registers, the class
/// being the second: the `nft` program (1.0.6) aborts when it is to show a map that leads to
/// several values of which the first leads further, and passes over a register it does not know.
fn follow_class(found: Rule, classes: SetId) -> Rule {
    let before = Register(CLASS.0 - 1);
    let found = found.meta(before, Meta::NfProto).mask(before, SET_COPY, &[0xff; 8]);
    found.follow(SET_COPY.after(1), classes)
}

fn range_rules(family: Family) -> Vec<Rule> {
    let mut rules = Vec::new();
    if !family.v6 {
        // With route_localnet for NodePorts on loopback, others on the link must not reach them.
        let strangers = family.load_destination(family.only(rule("ranges", "Loopback is not for others")));
        let strangers = strangers.mask(PLACE, PLACE, &[255, 0, 0, 0]).equals(PLACE, &[127, 0, 0, 0]);
        let strangers = strangers.meta(CLASS, Meta::Iif).differs(CLASS, &1u32.to_ne_bytes());
        rules.push(strangers.verdict(&Verdict::Drop));
    }
    for chain in ["ranges", "ranges-output"] {
        let new = only_new(family.only(rule(chain, "Clients of a load balancer address come from its ranges")));
        let ranged = family.load_place(new).within(PLACE, family.set(Purpose::Ranged));
        let refused = family.load_source(ranged, PLACE.after(family.registers + 2));
        rules.push(refused.outside(PLACE, family.set(Purpose::Allowed)).verdict(&Verdict::Drop));
    }
    rules
}

/// Goes on for the first packets of connections.
pub(super) fn only_new(rule: Rule) -> Rule {
    rule.ct(CLASS, Ct::State).mask(CLASS, CLASS, &STATE_NEW.to_ne_bytes()).differs(CLASS, &[0; 4])
}

/// Goes on for packets that nobody translated: what was has a backend's address, which another
/// Service may have claimed as an external IP.
pub(super) fn only_untranslated(rule: Rule) -> Rule {
    let status = STATUS_DESTINATION_TRANSLATED.to_ne_bytes();
    rule.ct(CLASS, Ct::Status).mask(CLASS, CLASS, &status).equals(CLASS, &[0; 4])
}

/// Packets that connection tracking cannot place keep the backend's address and would make
/// the client reset its connection. Pods of this node are tracked in both directions.
fn forward_rules(family: Family) -> [Rule; 2] {
    let invalid = |purpose| {
        let rule = family.only(rule("forward", purpose)).ct(CLASS, Ct::State);
        rule.mask(CLASS, CLASS, &STATE_INVALID.to_ne_bytes()).differs(CLASS, &[0; 4])
    };
    let from = family.load_source(invalid("Untracked packets of pods are not translated back"), PLACE);
    let to = family.load_destination(invalid("Untracked packets to pods were not translated"));
    [from, to].map(|rule| rule.within(PLACE, family.set(Purpose::LocalPods)).verdict(&Verdict::Drop))
}

fn postrouting_rules(family: Family, sources: NodeSources) -> Vec<Rule> {
    let hide = |rule: Rule| match if family.v6 { sources.v6.map(IpAddr::V6) } else { sources.v4.map(IpAddr::V4) } {
        Some(source) => {
            let address = Bytes::EMPTY.address(source);
            rule.load(PLACE, address.as_slice()).nat(Nat::Source, family.v6, PLACE, None)
        }
        None => rule.masquerade(),
    };
    let translated = |purpose| {
        let status = STATUS_DESTINATION_TRANSLATED.to_ne_bytes();
        let rule = family.only(rule("postrouting", purpose)).ct(CLASS, Ct::Status);
        rule.mask(CLASS, CLASS, &status).differs(CLASS, &[0; 4])
    };
    let hairpin = family.load_source(translated("A backend does not answer to itself"), PLACE);
    let hairpin =
        hairpin.payload(PLACE.after(family.registers), Base::Network, family.destination_offset, family.bytes);
    let mut rules = vec![hide(hairpin.within(PLACE, family.set(Purpose::Hairpin)))];
    if !family.v6 {
        let loopback = family.load_source(translated("Loopback stays on the node"), PLACE);
        let loopback = loopback.mask(PLACE, PLACE, &[255, 0, 0, 0]).equals(PLACE, &[127, 0, 0, 0]);
        rules.push(hide(loopback));
    }
    let hidden = family.of_strangers(translated("Answers come back through this node"));
    let hidden = hidden.source_address_type(CLASS).differs(CLASS, &ADDRESS_LOCAL.to_ne_bytes());
    let destination = if family.v6 { Ct::DstIp6 } else { Ct::DstIp };
    let hidden = hidden.ct_original(PLACE, destination).meta(PLACE.after(family.registers), Meta::L4Proto);
    let hidden = hidden.ct_original(PLACE.after(family.registers + 1), Ct::ProtoDst);
    rules.push(hide(hidden.within(PLACE, family.set(Purpose::Hide))));
    rules
}

/// The rules of a class.
pub(super) fn class_rules(class: &Class, number: u32, generation: u32) -> Vec<Rule> {
    let family = Family::of(class.v6);
    let chain = class_chain(number);
    let places = family.set(if class.outside { Purpose::Outside } else { Purpose::Frontends });
    let start = |purpose| {
        let placed = family.load_place(rule(&chain, purpose)).find(PLACE, places, CLASS);
        // The place may lead to another class since the packet came here.
        placed.equals(CLASS, &number.to_ne_bytes())
    };
    let port = BACKEND.after(family.registers);
    let translate = |rule: Rule| rule.nat(Nat::Destination, class.v6, BACKEND, Some(port));
    let affinity = family.set(Purpose::Affinity);
    let slots = SetId::of(Purpose::Slots, class.v6, generation);
    let Some(seconds) = class.affinity_seconds else {
        let drawn = draw(family, start("A backend is chosen").copy(SET, SET_COPY), class.choice);
        return vec![translate(drawn.find(SET_COPY, slots, BACKEND))];
    };
    let known = family.load_source(start("Known clients keep their backend"), CLIENT);
    let known = known.find(AFFINITY, affinity, BACKEND);
    // Its set follows the backend in the registers.
    let member = known.copy(SET, port.after(1)).within(BACKEND, SetId::of(Purpose::Members, class.v6, generation));
    let member = member.learn(affinity, Learn::Update, AFFINITY, Some(BACKEND), Some(seconds));
    let forgotten = family.load_source(start("A backend that is gone is forgotten"), CLIENT);
    let forgotten = forgotten.find(AFFINITY, affinity, BACKEND);
    let forgotten = forgotten.learn(affinity, Learn::Delete, AFFINITY, Some(BACKEND), None);
    let mut drawn = draw(family, start("A backend is chosen").copy(SET, SET_COPY), class.choice);
    if matches!(class.choice, Choice::Flow(_)) {
        // The source took the registers of what the place leads to.
        drawn = drawn.find(PLACE, places, CLASS);
    }
    let drawn = family.load_source(drawn, CLIENT).find(SET_COPY, slots, BACKEND);
    let learned = drawn.learn(affinity, Learn::Update, AFFINITY, Some(BACKEND), Some(seconds));
    // A map that is full takes no more clients, and ends the rule.
    let spread = draw(family, start("Clients beyond those that can be remembered").copy(SET, SET_COPY), class.choice);
    let spread = spread.find(SET_COPY, slots, BACKEND);
    vec![translate(member), forgotten, translate(learned), translate(spread)]
}

/// Draws a slot into the register after the copy of the set.
fn draw(family: Family, rule: Rule, choice: Choice) -> Rule {
    let slot = SET_COPY.after(1);
    match choice {
        Choice::Random(slots) => rule.number(slot, slots, true),
        Choice::Next { slots, .. } => rule.number(slot, slots, false),
        Choice::Client(slots) => family.load_source(rule, CLIENT).hash(CLIENT, family.bytes, slot, slots),
        Choice::Flow(slots) => {
            // The place is loaded; the source comes after it.
            let source = PLACE.after(family.registers + 2);
            let port = source.after(family.registers);
            let rule = family.load_source(rule, source).payload(port, Base::Transport, 0, 2);
            rule.hash(PLACE, 4 * (2 * family.registers + 3), slot, slots)
        }
    }
}
