//! Our nftables tables: `inet seaway`, and `arp seaway` for the nftables backend.
//!
//! Written in atomic transactions through `nlink`, never by the `nft` program. Rules carry
//! a comment with their purpose and a fingerprint, by which they are recognized when
//! they are read back; what changes often is in sets.

mod rules;
mod sets;

use std::collections::BTreeMap;

use nix::sys::socket::{setsockopt, sockopt};
use nlink::Nftables;
use nlink::blocking::Connection;
use nlink::netlink::nftables::{Family, ObjectState, Transaction};
use seaway_model::DropReason;

use crate::plan::{Element, Key, NftSet, Objects, Ruleset, Value};
use crate::support::Backend;
use crate::{Count, DatapathError};

pub(crate) use rules::LOG_GROUP;

/// Name of our tables.
pub(crate) const TABLE: &str = "seaway";
/// A transaction goes out as one message: 4 MiB hold some 40,000 elements.
const SEND_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A connection to nf_tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Nft {
    connection: Connection<Nftables>,
}

// === impl Nft ===

impl Nft {
    /// Connects in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, DatapathError> {
        let connection = Connection::<Nftables>::new().map_err(|error| refusal("open", Family::Inet, &error))?;
        connection.run(|connection| {
            Box::pin(async move {
                // Without the right to force it the default of 208 KiB has to do.
                let _ = setsockopt(connection.socket(), sockopt::SndBufForce, &SEND_BUFFER_BYTES);
            })
        });
        Ok(Self { connection })
    }

    /// Makes our tables anew, with `elements`, in one step; `note` is kept with the table.
    pub(crate) fn install(
        &self,
        ruleset: &Ruleset,
        elements: &[(NftSet, Element)],
        note: &str,
    ) -> Result<(), DatapathError> {
        let Ruleset::Ours { backend, tunnel_port } = ruleset else { return Ok(()) };
        let (backend, tunnel_port) = (*backend, *tunnel_port);
        let existing = self.families()?;
        self.commit("write", Family::Inet, |mut transaction| {
            if existing.contains_key(&(Family::Inet as u8)) {
                transaction = transaction.del_table(TABLE, Family::Inet);
            }
            transaction = transaction.add_table_with_comment(TABLE, Family::Inet, 0, Some(note));
            transaction = rules::add_inet(transaction, backend, tunnel_port)?;
            Ok(sets::change(transaction, Family::Inet, elements, &[]))
        })?;
        let had_arp = existing.contains_key(&(Family::Arp as u8));
        if backend == Backend::Nftables || had_arp {
            let written = self.commit("write", Family::Arp, |mut transaction| {
                if had_arp {
                    transaction = transaction.del_table(TABLE, Family::Arp);
                }
                if backend == Backend::Nftables {
                    transaction = rules::add_arp(transaction.add_table(TABLE, Family::Arp))?;
                    transaction = sets::change(transaction, Family::Arp, elements, &[]);
                }
                Ok(transaction)
            });
            if let Err(error) = written {
                // Hosts resolve pods by permanent entries, so false claims have no effect
                // on a kernel without the ARP family; they are only not counted.
                tracing::warn!(%error, "ARP claims of pods are not checked");
            }
        }
        Ok(())
    }

    /// Adds and removes elements in one step.
    pub(crate) fn change(&self, add: &[(NftSet, Element)], remove: &[(NftSet, Element)]) -> Result<(), DatapathError> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let pods = |(set, _): &&(NftSet, Element)| sets::is_of(*set, Family::Arp);
        let arp = add.iter().chain(remove).any(|element| pods(&element))
            && self.families()?.contains_key(&(Family::Arp as u8));
        self.commit("write", Family::Inet, |mut transaction| {
            transaction = sets::change(transaction, Family::Inet, add, remove);
            if arp {
                transaction = sets::change(transaction, Family::Arp, add, remove);
            }
            Ok(transaction)
        })
    }

    /// What our tables hold: the ruleset and the elements. Nothing when there is no table.
    pub(crate) fn read(&self, wanted: &Ruleset) -> Result<Objects, DatapathError> {
        let mut objects = Objects::new();
        let families = self.families()?;
        if !families.contains_key(&(Family::Inet as u8)) {
            return Ok(objects);
        }
        let differs = self.rules_differ(wanted, Family::Inet)?;
        let ruleset = differs.map_or_else(|| wanted.clone(), Ruleset::Changed);
        objects.insert(Key::Ruleset, Value::Ruleset(ruleset));
        let mut arp = Vec::new();
        let has_arp = families.contains_key(&(Family::Arp as u8));
        if has_arp {
            arp = self.elements(Family::Arp)?;
        }
        for (set, element) in self.elements(Family::Inet)? {
            // An element counts as there when every table that needs it has it.
            let complete =
                !has_arp || !sets::belongs(set, &element, Family::Arp) || arp.contains(&(set, element.clone()));
            if complete {
                objects.insert(Key::Element(set, element), Value::Present);
            }
        }
        Ok(objects)
    }

    fn rules_differ(&self, wanted: &Ruleset, family: Family) -> Result<Option<String>, DatapathError> {
        let Ruleset::Ours { backend, tunnel_port } = wanted else { return Ok(None) };
        let mut expected = rules::inet_comments(*backend, *tunnel_port);
        let listed = self
            .connection
            .run(move |connection| Box::pin(async move { connection.list_rules(TABLE, family).await }))
            .map_err(|error| refusal("read", family, &error))?;
        for rule in listed {
            let comment = rule.comment_text.unwrap_or_else(|| format!("a foreign rule in chain {}", rule.chain));
            if let Some(position) = expected.iter().position(|wanted| *wanted == comment) {
                expected.remove(position);
            } else {
                return Ok(Some(format!("holding {comment:?}")));
            }
        }
        Ok(expected.first().map(|missing| format!("lacking {missing:?}")))
    }

    fn elements(&self, family: Family) -> Result<Vec<(NftSet, Element)>, DatapathError> {
        let mut elements = Vec::new();
        for (set, name) in sets::names(family) {
            let listed = self.connection.run(move |connection| {
                let name = name.clone();
                Box::pin(async move { connection.list_set_elements(TABLE, &name, family).await })
            });
            match listed {
                Ok(listed) => elements.extend(listed.iter().filter_map(|raw| Some((set, sets::decode(set, raw)?)))),
                // The set went with the rules; both are made anew.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(refusal("read", family, &error)),
            }
        }
        Ok(elements)
    }

    /// Packets dropped, by reason.
    pub(crate) fn drops(&self) -> Result<BTreeMap<DropReason, Count>, DatapathError> {
        let mut drops = BTreeMap::new();
        for family in self.families()?.into_keys().filter_map(Family::from_u8) {
            let objects = self
                .connection
                .run(move |connection| Box::pin(async move { connection.list_objects_in(TABLE, family).await }))
                .map_err(|error| refusal("read", family, &error))?;
            for object in objects {
                let reason = DropReason::ALL.iter().find(|reason| rules::counter_name(**reason) == object.name);
                if let (Some(reason), ObjectState::Counter { packets, bytes, .. }) = (reason, object.state) {
                    let count: &mut Count = drops.entry(*reason).or_default();
                    count.packets += packets;
                    count.bytes += bytes;
                }
            }
        }
        Ok(drops)
    }

    /// What was noted with the table.
    pub(crate) fn note(&self) -> Result<Option<String>, DatapathError> {
        Ok(self.families()?.remove(&(Family::Inet as u8)).flatten())
    }

    /// Removes our tables.
    pub(crate) fn uninstall(&self) -> Result<(), DatapathError> {
        for family in self.families()?.into_keys().filter_map(Family::from_u8) {
            self.commit("delete", family, |transaction| Ok(transaction.del_table(TABLE, family)))?;
        }
        Ok(())
    }

    /// Families that have a table of our name, with its comment.
    fn families(&self) -> Result<BTreeMap<u8, Option<String>>, DatapathError> {
        let tables = self
            .connection
            .run(|connection| Box::pin(async move { connection.list_tables().await }))
            .map_err(|error| refusal("read", Family::Inet, &error))?;
        let ours = tables.into_iter().filter(|table| table.name == TABLE);
        Ok(ours.map(|table| (table.family as u8, table.comment)).collect())
    }

    fn commit(
        &self,
        operation: &'static str,
        family: Family,
        fill: impl FnOnce(Transaction) -> Result<Transaction, nlink::Error>,
    ) -> Result<(), DatapathError> {
        let empty = self.connection.run(|connection| Box::pin(std::future::ready(connection.transaction())));
        let transaction = fill(empty).map_err(|error| refusal(operation, family, &error))?;
        self.connection
            .run(move |connection| Box::pin(async move { transaction.commit(connection).await }))
            .map_err(|error| refusal(operation, family, &error))
    }
}

fn refusal(operation: &'static str, family: Family, error: &nlink::Error) -> DatapathError {
    let table = format!("{} {TABLE}", family.name());
    match error.errno() {
        Some(code @ (libc::EPERM | libc::EACCES)) => DatapathError::NotPermitted {
            operation: format!("{operation} nftables table {table}"),
            source: std::io::Error::from_raw_os_error(code),
        },
        _ => DatapathError::Nftables { operation, table, reason: error.to_string() },
    }
}
