//! The door to the kernel: transactions and reading back.

use std::collections::HashMap;
use std::io;

use super::batch::{Batch, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, message_type};
use super::layout::{Bytes, Element, NFPROTO_INET, SetId};
use crate::DatapathError;
use crate::kernel::netlink::{Attribute, Attributes, Netlink, Request};

/// Send buffer asked for: what a transaction may take.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Elements asked for at once: each is answered by a datagram of some 5 KiB, and the
/// receive buffer takes 2 MiB.
const LOOKUPS: usize = 200;
/// Readings of a set until it is taken as it is.
const READINGS: usize = 5;
/// Bytes of `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;

/// nf_tables of one network namespace.
#[derive(Debug)]
pub(super) struct KernelTables {
    netlink: Netlink,
    batch_limit_bytes: usize,
}

/// Why a transaction was not carried out.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the refused message was about.
    pub(super) subject: String,
    pub(super) source: io::Error,
}

// === impl Refused ===

impl Refused {
    /// Whether memory or a limit is exhausted.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENFILE | libc::ENOSPC | libc::ENOMEM | libc::E2BIG))
    }

    /// Whether the kernel holds something else than we remember.
    pub(super) fn is_surprise(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENOENT | libc::EEXIST | libc::EBUSY))
    }

    pub(super) fn into_error(self) -> DatapathError {
        match self.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => DatapathError::NotPermitted {
                operation: format!("write nftables {}", self.subject),
                source: self.source,
            },
            _ => DatapathError::Nftables { operation: "write", table: self.subject, reason: self.source.to_string() },
        }
    }
}

// === impl KernelTables ===

impl KernelTables {
    /// Connects in the calling thread's namespace.
    pub(super) fn open() -> Result<Self, DatapathError> {
        let netlink = Netlink::netfilter()?;
        // Transactions are cut at half of what the socket takes: one Service may be large.
        let batch_limit_bytes = netlink.allow_batches(BATCH_BYTES) / 2;
        Ok(Self { netlink, batch_limit_bytes })
    }

    /// Bytes after which a transaction should be carried out.
    pub(super) fn batch_limit_bytes(&self) -> usize {
        self.batch_limit_bytes
    }

    /// Carries out a transaction: all of it or nothing.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<u64, Refused> {
        if batch.is_empty() {
            return Ok(0);
        }
        let refusals = self.netlink.transact(batch.finish());
        match refusals.map(|refusals| refusals.into_iter().next()) {
            Ok(None) => Ok(batch.writes()),
            Ok(Some((sequence, source))) => Err(Refused { subject: batch.subject(sequence).to_owned(), source }),
            Err(source) => Err(Refused { subject: format!("a transaction of {} bytes", batch.len()), source }),
        }
    }

    fn dump(
        &mut self,
        kind: u16,
        object: String,
        fill: impl FnOnce(Request) -> Request,
    ) -> Result<Vec<(u16, Vec<u8>)>, DatapathError> {
        let request = Request::new(message_type(kind), 0, &[NFPROTO_INET, 0, 0, 0], "read", object);
        self.netlink.dump(&fill(request))
    }

    /// Notes of the `inet` tables, by name.
    pub(super) fn tables(&mut self) -> Result<HashMap<String, Option<String>>, DatapathError> {
        let replies = self.dump(NFT_MSG_GETTABLE, "nftables tables".to_owned(), |request| request)?;
        let parsed = replies.iter().filter_map(|(_, body)| {
            let attributes = Attributes(body.get(HEADER_BYTES..)?);
            Some((attributes.find(1)?.text()?.to_owned(), attributes.find(6).and_then(comment)))
        });
        Ok(parsed.collect())
    }

    /// Names of a table's sets.
    pub(super) fn sets(&mut self, table: &str) -> Result<Vec<String>, DatapathError> {
        let object = format!("sets of table {table}");
        let replies = self.dump(NFT_MSG_GETSET, object, |request| request.text(1, table))?;
        let parsed = replies.iter().filter_map(|(_, body)| {
            let name = Attributes(body.get(HEADER_BYTES..)?).find(2)?.text()?;
            Some(name.to_owned())
        });
        Ok(parsed.collect())
    }

    /// Chain and comment of a table's rules.
    pub(super) fn rules(&mut self, table: &str) -> Result<Vec<(String, String)>, DatapathError> {
        let object = format!("rules of table {table}");
        let replies = self.dump(NFT_MSG_GETRULE, object, |request| request.text(1, table))?;
        let parsed = replies.iter().filter_map(|(_, body)| {
            let attributes = Attributes(body.get(HEADER_BYTES..)?);
            let text = attributes.find(7).and_then(comment).unwrap_or_else(|| "a foreign rule".to_owned());
            Some((attributes.find(2)?.text()?.to_owned(), text))
        });
        Ok(parsed.collect())
    }

    /// Elements of a set. While the kernel makes a hash larger it may tell an element twice or
    /// not at all, so the set is read until two readings have as many.
    pub(super) fn elements(&mut self, set: SetId) -> Result<Vec<Element>, DatapathError> {
        let mut elements = self.elements_once(set)?;
        for _ in 0..READINGS {
            let again = self.elements_once(set)?;
            let settled = again.len() == elements.len();
            elements = again;
            if settled {
                break;
            }
        }
        Ok(elements)
    }

    /// What a set holds of these elements, asked for one by one: takes time by their number,
    /// where reading a set takes time by the square of its size.
    pub(super) fn lookup(&mut self, set: SetId, elements: &[Element]) -> Result<Vec<Element>, DatapathError> {
        let mut found = Vec::with_capacity(elements.len());
        for part in elements.chunks(LOOKUPS) {
            match self.lookup_at_once(set, part) {
                Ok(elements) => found.extend(elements),
                // The answer stops at the first that is not there.
                Err(error) if is_not_found(&error) => {
                    for element in part {
                        match self.lookup_at_once(set, std::slice::from_ref(element)) {
                            Ok(elements) => found.extend(elements),
                            Err(error) if is_not_found(&error) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn lookup_at_once(&mut self, set: SetId, elements: &[Element]) -> Result<Vec<Element>, DatapathError> {
        let header = [NFPROTO_INET, 0, 0, 0];
        let object = format!("elements of set {set}");
        let request = Request::new(message_type(NFT_MSG_GETSETELEM), 0, &header, "read", object);
        let request = request.text(1, set.table()).text(2, &set.name()).nested(3, |list| {
            elements.iter().fold(list, |list, element| {
                list.nested(1, |item| item.nested(1, |key| key.attribute(1, element.key.as_slice())))
            })
        });
        let replies = self.netlink.run(vec![request])?.into_iter().flatten();
        let bodies: Vec<Vec<u8>> = replies.map(|(_, body)| body).collect();
        let lists = bodies.iter().filter_map(|body| Attributes(body.get(HEADER_BYTES..)?).find(3));
        Ok(lists.flat_map(|list| list.nested().filter_map(move |element| parse_element(set, element))).collect())
    }

    /// One reading of a set.
    pub(super) fn elements_once(&mut self, set: SetId) -> Result<Vec<Element>, DatapathError> {
        let object = format!("elements of set {set}");
        let replies =
            self.dump(NFT_MSG_GETSETELEM, object, |request| request.text(1, set.table()).text(2, &set.name()))?;
        let lists = replies.iter().filter_map(|(_, body)| Attributes(body.get(HEADER_BYTES..)?).find(3));
        let elements = lists.flat_map(|list| list.nested().filter_map(move |element| parse_element(set, element)));
        let mut elements: Vec<Element> = elements.collect();
        elements.sort_unstable();
        elements.dedup();
        Ok(elements)
    }
}

fn is_not_found(error: &DatapathError) -> bool {
    matches!(error, DatapathError::Kernel { source, .. } if source.raw_os_error() == Some(libc::ENOENT))
}

fn parse_element(set: SetId, element: Attribute<'_>) -> Option<Element> {
    let value = |kind: u16| element.nested().find(kind)?.nested().find(1).map(|value| value.payload);
    let key = Bytes::from_slice(value(1)?)?;
    let is_end = element.nested().find(3).and_then(Attribute::u32_big_endian) == Some(INTERVAL_END);
    let data = match value(2).or_else(|| value(10)) {
        Some(data) => Bytes::from_slice(data)?,
        None if is_end => END,
        None => Bytes::EMPTY,
    };
    Some(Element { set, key, data })
}

/// What stands as data of an element that ends a range.
pub(super) const END: Bytes = Bytes::MARK;

/// A comment as the `nft` program writes it: type 0, length, text and its end.
fn comment(attribute: Attribute<'_>) -> Option<String> {
    let [0, _, text @ ..] = attribute.payload else { return None };
    let end = text.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(text.get(..end)?).into_owned())
}

/// Bytes that `nft` shows as a comment.
pub(super) fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}
