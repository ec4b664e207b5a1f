//! Making the tables, or taking over those of an earlier process.
//!
//! An earlier process's elements stay until the new one has been told everything, so traffic
//! goes on meanwhile. Places are read, and go over from old to new one by one; backends are not
//! read, since reading a set takes the kernel time by the square of its size: the new process
//! makes sets of its own for them, and the old ones go with all that is in them.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::batch::Batch;
use super::guard;
use super::kernel_tables::Refused;
use super::layout::{Element, GUARD_TABLE, Purpose, SERVICES_TABLE, SetId};
use super::rules::{self, NodeSources, class_chain};
use super::tables::{Scope, Tables};
use crate::{DatapathError, ServiceReport};

/// Fingerprint of a table's sets and fixed rules: one that differs was made by another version.
fn note(table: &str) -> String {
    let mut digest = Sha256::new();
    for set in SetId::of_table(table) {
        digest.update(format!("{:?}", set.definition()));
    }
    let rules = if table == GUARD_TABLE { guard::rules() } else { rules::base_rules(NodeSources::default()) };
    for rule in rules {
        digest.update(format!("{} {}", rule.chain, rule.comment()));
    }
    let hex: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("made by Seaway, layout {hex}")
}

/// The generation in a set's name.
fn generation(set: &str) -> Option<u32> {
    set.rsplit_once('-').and_then(|(_, generation)| generation.parse().ok())
}

// === impl Scope ===

impl Scope {
    pub(super) fn tables(self) -> &'static [&'static str] {
        match self {
            Scope::Guard => &[GUARD_TABLE],
            Scope::Everything => &[SERVICES_TABLE, GUARD_TABLE],
        }
    }
}

// === impl Tables ===

impl Tables {
    /// Makes the tables that are not there or were made by another version; takes over the rest.
    pub(super) fn install(&mut self) -> Result<(), DatapathError> {
        let found = self.kernel.tables()?;
        for table in self.scope.tables() {
            match found.get(*table) {
                Some(there) if there.as_deref() == Some(note(table).as_str()) => self.take_over(table)?,
                there => self.make(table, there.is_some())?,
            }
        }
        Ok(())
    }

    /// Makes a table anew, without elements.
    pub(super) fn make(&mut self, table: &'static str, exists: bool) -> Result<(), DatapathError> {
        let mut batch = Batch::new();
        if exists {
            batch.delete_table(table);
        }
        batch.add_table(table, &note(table));
        if table == GUARD_TABLE {
            guard::add(&mut batch);
        } else {
            rules::add(&mut batch, self.sources());
            self.add_generation(&mut batch);
        }
        self.kernel.commit(batch).map_err(Refused::into_error)?;
        Ok(())
    }

    /// Whether a table is as this version makes it.
    pub(super) fn is_ours(&mut self, table: &str) -> Result<bool, DatapathError> {
        let found = self.kernel.tables()?;
        Ok(found.get(table).is_some_and(|there| there.as_deref() == Some(note(table).as_str())))
    }

    fn take_over(&mut self, table: &str) -> Result<(), DatapathError> {
        let mut leftover = self.leftover.take().unwrap_or_default();
        for set in SetId::of_table(table) {
            match set.purpose {
                Purpose::Affinity | Purpose::LocalPods | Purpose::ServiceRanges => {}
                Purpose::InsideClasses | Purpose::OutsideClasses => {
                    let numbers = self.kernel.elements(set)?.into_iter().filter_map(|class| class.key.u32_at(0));
                    self.classes.next =
                        numbers.fold(self.classes.next, |next, number| next.max(number.saturating_add(1)));
                }
                _ => {
                    let elements = self.kernel.elements(set)?;
                    leftover.extend(elements.into_iter().map(|element| ((element.set, element.key), element.data)));
                }
            }
        }
        self.leftover = Some(leftover);
        if table == SERVICES_TABLE {
            self.first_class = self.classes.next;
            let sets = self.kernel.sets(table)?;
            let newest = sets.iter().filter_map(|set| generation(set)).max().unwrap_or_default();
            self.classes.generation = newest.checked_add(1).unwrap_or(1);
            let mut batch = Batch::new();
            self.add_generation(&mut batch);
            self.kernel.commit(batch).map_err(Refused::into_error)?;
        }
        Ok(())
    }

    fn add_generation(&self, batch: &mut Batch) {
        for set in SetId::of_generation(self.classes.generation) {
            batch.add_set(&set.definition());
        }
    }

    /// Removes what an earlier process left and nobody asked for again.
    pub(super) fn forget_leftovers(&mut self) -> Result<ServiceReport, DatapathError> {
        let mut report = ServiceReport::default();
        let Some(leftover) = self.leftover.take() else { return Ok(report) };
        let unwanted: Vec<Element> =
            leftover.into_iter().map(|((set, key), data)| Element { set, key, data }).collect();
        report.writes += self.delete_all(unwanted)?;
        if self.scope == Scope::Guard {
            return Ok(report);
        }
        report.writes += self.forget_classes()?;
        Ok(report)
    }

    fn forget_classes(&mut self) -> Result<u64, DatapathError> {
        let mut batch = Batch::new();
        for purpose in [Purpose::InsideClasses, Purpose::OutsideClasses] {
            for v6 in [false, true] {
                let set = SetId::new(purpose, v6);
                for number in self.kernel.elements(set)?.iter().filter_map(|class| class.key.u32_at(0)) {
                    if number != rules::UNTRANSLATED && number < self.first_class {
                        batch.delete_class(set, number);
                    }
                }
            }
        }
        let current = self.classes.generation;
        for set in self.kernel.sets(SERVICES_TABLE)? {
            if generation(&set).is_some_and(|generation| generation != current) {
                batch.delete_set(SERVICES_TABLE, &set);
            }
        }
        self.kernel.commit(batch).map_err(Refused::into_error)
    }

    /// Removes the tables.
    pub(super) fn remove(&mut self) -> Result<(), DatapathError> {
        self.remove_tables(self.scope.tables())
    }

    /// Removes these tables, if they are there.
    pub(super) fn remove_tables(&mut self, tables: &[&str]) -> Result<(), DatapathError> {
        let found: HashMap<_, _> = self.kernel.tables()?;
        let mut batch = Batch::new();
        for table in tables.iter().filter(|table| found.contains_key(**table)) {
            batch.delete_table(table);
        }
        self.kernel.commit(batch).map_err(Refused::into_error)?;
        Ok(())
    }

    /// Chains of classes that the kernel should have.
    pub(super) fn class_chains(&self) -> HashSet<String> {
        self.classes.all().map(|(_, number)| class_chain(number)).collect()
    }
}
