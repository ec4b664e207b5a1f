//! Reading back, comparing, repairing.

use std::collections::{BTreeMap, HashMap, HashSet};

use seaway_model::ServiceRef;

use super::batch::Batch;
use super::kernel_tables::Refused;
use super::layout::{Bytes, Element, GUARD_TABLE, Purpose, SERVICES_TABLE, SetId};
use super::rules::{self, class_rules, class_set};
use super::tables::{Scope, Tables};
use crate::kernel::services::nftables::guard;
use crate::{DatapathError, Difference};

/// Differences told one by one; the others are counted.
const TOLD: usize = 20;

fn tell(told: &mut Vec<Difference>, untold: &mut usize, difference: Difference) {
    if told.len() < TOLD {
        told.push(difference);
    } else {
        *untold += 1;
    }
}

// === impl Tables ===

impl Tables {
    /// Makes the kernel hold what was applied, and says what differed.
    pub(super) fn repair(&mut self) -> Result<Vec<Difference>, DatapathError> {
        let mut differences = Vec::new();
        for table in self.scope.tables() {
            let problem = match self.is_ours(table)? {
                true => self.rules_differ(table)?,
                false => Some("was missing or changed".to_owned()),
            };
            if let Some(problem) = problem {
                let exists = self.kernel.tables()?.contains_key(*table);
                self.make(table, exists)?;
                if *table == SERVICES_TABLE {
                    self.remake_classes()?;
                }
                self.write_node(true)?;
                let cause = "Services of the cluster".to_owned();
                differences.push(Difference { what: format!("nftables table {table} {problem}"), cause });
            }
        }
        self.repair_elements(&mut differences)?;
        Ok(differences)
    }

    fn remake_classes(&mut self) -> Result<(), DatapathError> {
        self.classes.lost();
        let mut batch = Batch::new();
        for (class, number) in self.classes.unmade() {
            batch.add_class(&class, number, self.classes.generation);
        }
        self.kernel.commit(batch).map_err(Refused::into_error)?;
        self.classes.made();
        Ok(())
    }

    fn rules_differ(&mut self, table: &str) -> Result<Option<String>, DatapathError> {
        let generation = self.classes.generation;
        let wanted = match table {
            GUARD_TABLE => guard::rules(),
            _ => {
                let classes = self.classes.all().flat_map(|(class, number)| class_rules(class, number, generation));
                rules::base_rules(self.sources()).into_iter().chain(classes).collect()
            }
        };
        let mut counts: HashMap<(String, String), i64> = HashMap::new();
        for rule in wanted {
            *counts.entry((rule.chain.clone(), rule.comment())).or_default() += 1;
        }
        let adopted = self.leftover.is_some();
        if table == SERVICES_TABLE
            && let Some(class) = self.lost_class()?
        {
            return Ok(Some(format!("lacked class {class}")));
        }
        for rule in self.kernel.rules(table)? {
            // Chains of an earlier process stay until everything was applied once.
            if adopted && rule.0.starts_with("class-") && !self.class_chains().contains(&rule.0) {
                continue;
            }
            *counts.entry(rule).or_default() -= 1;
        }
        let differing = counts.into_iter().find(|(_, count)| *count != 0);
        Ok(differing.map(|((chain, rule), count)| match count > 0 {
            true => format!("lacked rule {rule:?} in chain {chain}"),
            false => format!("had a foreign rule {rule:?} in chain {chain}"),
        }))
    }

    /// A class that no number leads to.
    fn lost_class(&mut self) -> Result<Option<u32>, DatapathError> {
        let mut led_to = HashSet::new();
        for purpose in [Purpose::InsideClasses, Purpose::OutsideClasses] {
            for v6 in [false, true] {
                let elements = self.kernel.elements(SetId::new(purpose, v6))?;
                led_to.extend(elements.into_iter().filter_map(|element| Some((element.set, element.key.u32_at(0)?))));
            }
        }
        Ok(self
            .classes
            .all()
            .find(|(class, number)| !led_to.contains(&(class_set(class), *number)))
            .map(|(_, number)| number))
    }

    fn repair_elements(&mut self, differences: &mut Vec<Difference>) -> Result<(), DatapathError> {
        let mut wanted: BTreeMap<SetId, Vec<(Element, ServiceRef)>> = BTreeMap::new();
        for ((set, key), (data, service)) in self.wanted() {
            wanted.entry(set).or_default().push((Element { set, key, data }, service.clone()));
        }
        let slots = (self.scope == Scope::Everything).then(|| SetId::of_generation(self.classes.generation));
        let tables = self.scope.tables().iter().flat_map(|table| SetId::of_table(table));
        let mut told = Vec::new();
        let mut untold = 0;
        for set in tables.chain(slots.into_iter().flatten()).filter(|set| set.purpose.belongs_to_services()) {
            let wanted = wanted.remove(&set).unwrap_or_default();
            let elements: Vec<Element> = wanted.iter().map(|(element, _)| *element).collect();
            let found = if set.purpose.goes_last() {
                // What is too many here, nothing leads to.
                self.kernel.lookup(set, &elements)?
            } else {
                self.read(set, &elements)?
            };
            let mut found: HashMap<Bytes, Bytes> =
                found.into_iter().map(|element| (element.key, element.data)).collect();
            let (mut missing, mut surplus) = (Vec::new(), Vec::new());
            for (element, service) in wanted {
                let there = found.remove(&element.key);
                if there == Some(element.data) {
                    continue;
                }
                let how = if there.is_some() { "was changed" } else { "was missing" };
                surplus.extend(there.map(|data| Element { data, ..element }));
                missing.push(element);
                let what = format!("element {:?} of set {set} {how}", element.key);
                tell(&mut told, &mut untold, Difference { what, cause: format!("service {service}") });
            }
            if self.leftover.is_none() {
                for (key, data) in found {
                    surplus.push(Element { set, key, data });
                    let what = format!("element {key:?} of set {set} was too many");
                    tell(&mut told, &mut untold, Difference { what, cause: "nobody".to_owned() });
                }
            }
            self.write_elements(surplus, missing)?;
        }
        if untold > 0 {
            let what = format!("{untold} more elements differed");
            told.push(Difference { what, cause: "Services of the cluster".to_owned() });
        }
        differences.extend(told);
        Ok(())
    }

    /// What a set holds; read with more care when that is not what is wanted.
    fn read(&mut self, set: SetId, wanted: &[Element]) -> Result<Vec<Element>, DatapathError> {
        let found = self.kernel.elements_once(set)?;
        let as_wanted = found.len() == wanted.len() && {
            let wanted: HashSet<&Element> = wanted.iter().collect();
            found.iter().all(|element| wanted.contains(element))
        };
        if as_wanted { Ok(found) } else { self.kernel.elements(set) }
    }

    /// Removes and adds elements: what is changed is removed and added in one transaction.
    fn write_elements(&mut self, surplus: Vec<Element>, missing: Vec<Element>) -> Result<(), DatapathError> {
        let per_batch = (self.kernel.batch_limit_bytes() / 256).max(1);
        let mut gone: HashMap<(SetId, Bytes), Element> =
            surplus.into_iter().map(|element| ((element.set, element.key), element)).collect();
        let mut missing = missing;
        missing.sort_unstable();
        for part in missing.chunks(per_batch) {
            let mut batch = Batch::new();
            let mut replaced: Vec<Element> =
                part.iter().filter_map(|element| gone.remove(&(element.set, element.key))).collect();
            replaced.sort_unstable();
            batch.delete_elements(&replaced);
            batch.add_elements(part);
            self.kernel.commit(batch).map_err(Refused::into_error)?;
        }
        let mut rest: Vec<Element> = gone.into_values().collect();
        rest.sort_unstable();
        for part in rest.chunks(per_batch) {
            let mut batch = Batch::new();
            batch.delete_elements(part);
            self.kernel.commit(batch).map_err(Refused::into_error)?;
        }
        Ok(())
    }

    /// Writes what depends on the node: ranges, and the addresses clients hide behind.
    pub(super) fn write_node(&mut self, sources_too: bool) -> Result<(), DatapathError> {
        let mut batch = Batch::new();
        if self.scope == Scope::Everything {
            self.write_ranges(&mut batch, Purpose::LocalPods);
            if sources_too {
                rules::change_sources(&mut batch, self.sources());
            }
        }
        self.write_ranges(&mut batch, Purpose::ServiceRanges);
        self.kernel.commit(batch).map_err(Refused::into_error)?;
        Ok(())
    }

    fn write_ranges(&self, batch: &mut Batch, purpose: Purpose) {
        let ranges = match purpose {
            Purpose::LocalPods => &self.node.local_pod_cidrs,
            _ => &self.node.service_cidrs,
        };
        for v6 in [false, true] {
            let set = SetId::new(purpose, v6);
            batch.flush_set(set);
            let of_family: Vec<_> = ranges.iter().filter(|range| range.addr().is_ipv6() == v6).copied().collect();
            let mut elements = Vec::new();
            for range in ipnet::IpNet::aggregate(&of_family) {
                let start = Bytes::EMPTY.address(range.network());
                elements.push(Element { set, key: start, data: Bytes::EMPTY });
                // The first address after the range; none when the range is the last.
                elements.extend(start_after(range).map(|key| Element { set, key, data: Bytes::MARK }));
            }
            batch.add_elements(&elements);
        }
    }
}

fn start_after(range: ipnet::IpNet) -> Option<Bytes> {
    match range {
        ipnet::IpNet::V4(v4) => {
            let next = u32::from(v4.broadcast()).checked_add(1)?;
            Some(Bytes::EMPTY.address(std::net::Ipv4Addr::from(next).into()))
        }
        ipnet::IpNet::V6(v6) => {
            let next = u128::from(v6.broadcast()).checked_add(1)?;
            Some(Bytes::EMPTY.address(std::net::Ipv6Addr::from(next).into()))
        }
    }
}
