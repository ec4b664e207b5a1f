//! Writing nf_tables messages (`linux/netfilter/nf_tables.h`): a batch is one transaction,
//! of which the kernel takes all or nothing.
//!
//! Written here and not by `nlink`, because hundreds of thousands of elements go through it,
//! and because expressions are needed that `nlink` does not have.

use super::kernel_tables::comment_bytes;
use super::layout::{Bytes, Element, NFPROTO_INET, SERVICES_TABLE, SetDefinition, SetId};
use super::rule::{Rule, Verdict};
use super::rules::{Class, class_chain, class_rules, class_set};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
pub(super) const NFT_MSG_NEWTABLE: u16 = 0;
pub(super) const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
pub(super) const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWSET: u16 = 9;
pub(super) const NFT_MSG_GETSET: u16 = 10;
const NFT_MSG_DELSET: u16 = 11;
const NFT_MSG_NEWSETELEM: u16 = 12;
pub(super) const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_DELSETELEM: u16 = 14;
const NLA_F_NESTED: u16 = 0x8000;
/// Bytes of elements in one message: the length of an attribute is a 16-bit number.
const ELEMENTS_BYTES: usize = 60_000;

/// Type of an nf_tables message as it stands in the header.
pub(super) const fn message_type(kind: u16) -> u16 {
    (NFNL_SUBSYS_NFTABLES << 8) | kind
}

/// A transaction being written.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Writer,
    /// What the message of each sequence number is about, for people.
    subjects: Vec<String>,
    writes: u64,
}

/// Attributes being written.
#[derive(Debug, Default, Clone)]
pub(super) struct Writer(pub(super) Vec<u8>);

/// A base chain's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// `nat` or `filter`.
    pub(super) kind: &'static str,
    /// `NF_INET_*`.
    pub(super) number: u32,
    /// Order among the chains of the hook.
    pub(super) priority: i32,
}

// === impl Batch ===

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Writer(Vec::with_capacity(64 * 1024)), subjects: Vec::new(), writes: 0 };
        batch.boundary(NFNL_MSG_BATCH_BEGIN);
        batch
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.writes == 0
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.0.len()
    }

    /// Objects written or removed.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// What the message with this sequence number is about.
    pub(super) fn subject(&self, sequence: u32) -> &str {
        self.subjects.get(sequence as usize).map_or("a batch", String::as_str)
    }

    /// The finished transaction.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.boundary(NFNL_MSG_BATCH_END);
        &self.bytes.0
    }

    fn boundary(&mut self, kind: u16) {
        // Version 0, the subsystem in network byte order.
        let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        self.raw_message(kind, NLM_F_REQUEST, [0, 0, high, low], String::new(), |_| {});
    }

    fn message(&mut self, kind: u16, flags: u16, subject: String, fill: impl FnOnce(&mut Writer)) {
        self.writes += 1;
        self.raw_message(message_type(kind), flags | NLM_F_REQUEST, [NFPROTO_INET, 0, 0, 0], subject, fill);
    }

    fn raw_message(&mut self, kind: u16, flags: u16, header: [u8; 4], subject: String, fill: impl FnOnce(&mut Writer)) {
        let start = self.bytes.0.len();
        let sequence = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        self.subjects.push(subject);
        self.bytes.0.extend_from_slice(&[0; 4]);
        self.bytes.0.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.0.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.0.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.0.extend_from_slice(&[0; 4]);
        self.bytes.0.extend_from_slice(&header);
        fill(&mut self.bytes);
        let length = u32::try_from(self.bytes.0.len() - start).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(field) = self.bytes.0.get_mut(start..start + 4) {
            field.copy_from_slice(&length);
        }
    }

    /// Makes a table that carries `note`.
    pub(super) fn add_table(&mut self, table: &str, note: &str) {
        self.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, format!("table {table}"), |w| {
            w.text(1, table);
            w.attribute(6, &comment_bytes(note));
        });
    }

    /// Removes a table with all that is in it.
    pub(super) fn delete_table(&mut self, table: &str) {
        self.message(NFT_MSG_DELTABLE, 0, format!("table {table}"), |w| w.text(1, table));
    }

    /// Makes a chain.
    pub(super) fn add_chain(&mut self, table: &str, chain: &str, hook: Option<Hook>) {
        self.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, format!("chain {table} {chain}"), |w| {
            w.text(1, table);
            w.text(3, chain);
            if let Some(hook) = hook {
                w.nest(4, |w| {
                    w.u32(1, hook.number);
                    w.attribute(2, &hook.priority.to_be_bytes());
                });
                w.text(7, hook.kind);
            }
        });
    }

    /// Removes a chain and its rules. Nothing may lead to it.
    pub(super) fn delete_chain(&mut self, table: &str, chain: &str) {
        self.flush_chain(table, chain);
        self.message(NFT_MSG_DELCHAIN, 0, format!("chain {table} {chain}"), |w| {
            w.text(1, table);
            w.text(3, chain);
        });
    }

    /// Removes all rules of a chain.
    pub(super) fn flush_chain(&mut self, table: &str, chain: &str) {
        self.message(NFT_MSG_DELRULE, 0, format!("rules of chain {table} {chain}"), |w| {
            w.text(1, table);
            w.text(2, chain);
        });
    }

    /// Appends a rule.
    pub(super) fn add_rule(&mut self, rule: &Rule) {
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        let subject = format!("rule {:?} in chain {} {}", rule.purpose(), rule.table, rule.chain);
        self.message(NFT_MSG_NEWRULE, flags, subject, |w| {
            w.text(1, rule.table);
            w.text(2, &rule.chain);
            w.nest(4, |w| w.0.extend_from_slice(rule.expressions()));
            w.attribute(7, &rule.user_data());
        });
    }

    /// Makes a set or map.
    pub(super) fn add_set(&mut self, definition: &SetDefinition) {
        let set = definition.id;
        self.message(NFT_MSG_NEWSET, NLM_F_CREATE, format!("set {set}"), |w| {
            w.text(1, set.table());
            w.text(2, &set.name());
            w.u32(3, definition.flags);
            w.u32(4, definition.key_type);
            w.u32(5, definition.key_bytes);
            if let Some((data_type, data_bytes)) = definition.data {
                w.u32(6, data_type);
                w.u32(7, data_bytes);
            }
            // Required by the kernel; meant for sets made and used in one batch.
            w.u32(10, 1);
            if definition.limit.is_some() || !definition.fields_bytes.is_empty() {
                w.nest(9, |w| {
                    if let Some(limit) = definition.limit {
                        w.u32(1, limit);
                    }
                    if !definition.fields_bytes.is_empty() {
                        w.nest(2, |w| {
                            definition.fields_bytes.iter().for_each(|bytes| w.nest(1, |w| w.u32(1, *bytes)));
                        });
                    }
                });
            }
        });
    }

    /// Removes a set, by name. No rule may refer to it.
    pub(super) fn delete_set(&mut self, table: &str, set: &str) {
        self.message(NFT_MSG_DELSET, 0, format!("set {table} {set}"), |w| {
            w.text(1, table);
            w.text(2, set);
        });
    }

    /// Removes all elements of a set.
    pub(super) fn flush_set(&mut self, set: SetId) {
        self.message(NFT_MSG_DELSETELEM, 0, format!("elements of set {set}"), |w| {
            w.text(1, set.table());
            w.text(2, &set.name());
        });
    }

    /// Adds elements, which must be sorted by set.
    pub(super) fn add_elements(&mut self, elements: &[Element]) {
        self.elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, elements);
    }

    /// Removes elements, which must be sorted by set and be there.
    pub(super) fn delete_elements(&mut self, elements: &[Element]) {
        self.elements(NFT_MSG_DELSETELEM, 0, elements);
    }

    /// Makes the chain of a class, and lets its number lead there.
    pub(super) fn add_class(&mut self, class: &Class, number: u32, generation: u32) {
        let chain = class_chain(number);
        self.add_chain(SERVICES_TABLE, &chain, None);
        for rule in class_rules(class, number, generation) {
            self.add_rule(&rule);
        }
        self.class_element(class_set(class), number, &Verdict::Jump(chain));
    }

    /// Lets a class's number lead to a verdict.
    pub(super) fn class_element(&mut self, set: SetId, number: u32, verdict: &Verdict) {
        self.message(NFT_MSG_NEWSETELEM, NLM_F_CREATE, format!("element {number} of set {set}"), |w| {
            w.text(1, set.table());
            w.text(2, &set.name());
            w.nest(3, |w| {
                w.nest(1, |w| {
                    w.nest(1, |w| w.attribute(1, &number.to_ne_bytes()));
                    w.nest(2, |w| verdict.write(w));
                });
            });
        });
    }

    /// Removes a class; no place may lead to it.
    pub(super) fn delete_class(&mut self, set: SetId, number: u32) {
        let element = Element { set, key: Bytes::EMPTY.u32(number), data: Bytes::EMPTY };
        self.delete_elements(&[element]);
        self.delete_chain(SERVICES_TABLE, &class_chain(number));
    }

    fn elements(&mut self, kind: u16, flags: u16, elements: &[Element]) {
        for of_one_set in elements.chunk_by(|one, other| one.set == other.set) {
            let mut rest = of_one_set.iter().peekable();
            while let Some(first) = rest.peek() {
                let set = first.set;
                let mut written = 0;
                self.message(kind, flags, format!("elements of set {set}"), |w| {
                    w.text(1, set.table());
                    w.text(2, &set.name());
                    w.nest(3, |w| {
                        let start = w.0.len();
                        while w.0.len() - start < ELEMENTS_BYTES
                            && let Some(element) = rest.next()
                        {
                            w.nest(1, |w| element.write(w));
                            written += 1;
                        }
                    });
                });
                self.writes += written - 1;
            }
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn attribute(&mut self, kind: u16, payload: &[u8]) {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A number in network byte order, as all of nf_tables' are.
    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let length = u16::try_from(text.len() + 5).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX).to_ne_bytes();
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&length);
        }
    }
}
