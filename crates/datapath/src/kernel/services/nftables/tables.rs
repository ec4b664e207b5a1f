//! What the tables hold for every Service, and how a batch of changes becomes transactions.
//!
//! A Service changes within one transaction. What the old state of a Service alone refers to
//! (slots of sets that are no more) goes in a later one, so that a packet between two lookups
//! still finds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::ServiceRef;
use seaway_services::plan::{PlanChange, ServicePlan};

use super::batch::Batch;
use super::classes::Classes;
use super::elements::Programmed;
use super::kernel_tables::{KernelTables, Refused};
use super::layout::{Bytes, Element, SetId};
use super::rules::NodeSources;
use crate::services::Refusal;
use crate::{DatapathError, ServiceNode, ServiceReport};

/// Which tables are ours to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one that refuses.
    Guard,
    /// That and the one that translates.
    Everything,
}

/// The tables of one network namespace and what they hold.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) kernel: KernelTables,
    pub(super) scope: Scope,
    pub(super) node: ServiceNode,
    pub(super) services: HashMap<ServiceRef, Programmed>,
    /// How many Services ask for elements that several may ask for.
    shared: HashMap<(SetId, Bytes), u32>,
    pub(super) classes: Classes,
    pub(super) next_id: u32,
    /// What an earlier process left, until everything was applied once.
    pub(super) leftover: Option<HashMap<(SetId, Bytes), Bytes>>,
    /// Classes below this one are an earlier process's.
    pub(super) first_class: u32,
    /// Set once the node's part was written.
    pub(super) node_written: Option<()>,
    pub(super) counts: BTreeMap<SetId, u64>,
}

/// One Service before and after.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub(super) service: ServiceRef,
    pub(super) old: Option<Programmed>,
    pub(super) new: Option<Programmed>,
}

/// Changes that become one transaction.
#[derive(Debug, Default)]
struct Chunk {
    updates: Vec<Update>,
    add: Vec<Element>,
    delete: Vec<Element>,
    /// For a later transaction.
    later: Vec<Element>,
    bytes: usize,
}

/// Elements that leave one Service and come to another in the same batch: what they led to,
/// until the other has them.
type Moves = HashMap<(SetId, Bytes), Option<Bytes>>;

/// Bytes of an element's attributes, besides key and data.
const ELEMENT_OVERHEAD_BYTES: usize = 24;

// === impl Tables ===

impl Tables {
    pub(super) fn new(scope: Scope) -> Result<Self, DatapathError> {
        Ok(Self {
            kernel: KernelTables::open()?,
            scope,
            node: ServiceNode::default(),
            services: HashMap::new(),
            shared: HashMap::new(),
            classes: Classes::default(),
            next_id: 1,
            leftover: None,
            first_class: 1,
            node_written: None,
            counts: BTreeMap::new(),
        })
    }

    /// Addresses that backends see instead of hidden clients.
    pub(super) fn sources(&self) -> NodeSources {
        let mut sources = NodeSources::default();
        for address in self.node.node_addresses.iter().rev() {
            match address {
                IpAddr::V4(v4) => sources.v4 = Some(*v4),
                IpAddr::V6(v6) => sources.v6 = Some(*v6),
            }
        }
        sources
    }

    /// Carries out changes; the updates that were carried out are returned for what follows.
    pub(super) fn apply(&mut self, changes: &[PlanChange]) -> Result<(ServiceReport, Vec<Update>), DatapathError> {
        let node = self.node.clone();
        let updates = self.updates(changes);
        self.program(updates, &node)
    }

    fn updates(&mut self, changes: &[PlanChange]) -> Vec<Update> {
        let mut last: BTreeMap<&ServiceRef, Option<&Arc<ServicePlan>>> = BTreeMap::new();
        for change in changes {
            match change {
                PlanChange::Set(plan) => last.insert(&plan.service, Some(plan)),
                PlanChange::Remove(service) => last.insert(service, None),
            };
        }
        let mut updates = Vec::with_capacity(last.len());
        for (service, plan) in last {
            let old = self.services.get(service).cloned();
            let next_id = &mut self.next_id;
            let mut fresh = || {
                let id = *next_id;
                // Never 0, which stands for no set. Four billion changes later the oldest are gone.
                *next_id = id.checked_add(1).unwrap_or(1);
                id
            };
            let new = plan.map(|plan| Programmed::new(Arc::clone(plan), old.as_ref(), &mut fresh));
            updates.push(Update { service: service.clone(), old, new });
        }
        updates
    }

    /// Writes updates, whose old state was made for `node_before`.
    pub(super) fn program(
        &mut self,
        updates: Vec<Update>,
        node_before: &ServiceNode,
    ) -> Result<(ServiceReport, Vec<Update>), DatapathError> {
        let mut report = ServiceReport::default();
        let mut done = Vec::with_capacity(updates.len());
        let mut later = Vec::new();
        let mut moves = self.moves(&updates, node_before);
        let mut chunk = Chunk::default();
        for update in updates {
            self.fill(&mut chunk, update, node_before, &mut moves);
            if chunk.bytes > self.kernel.batch_limit_bytes() {
                let full = std::mem::take(&mut chunk);
                self.finish(full, node_before, &mut report, &mut done, &mut later)?;
            }
        }
        self.finish(chunk, node_before, &mut report, &mut done, &mut later)?;
        report.writes += self.delete_all(later)?;
        Ok((report, done))
    }

    /// What leaves one Service in these updates and comes to another: it must go from one
    /// to the other within one transaction.
    fn moves(&self, updates: &[Update], node_before: &ServiceNode) -> Moves {
        let mut leaving = Moves::new();
        if updates.len() < 2 {
            return leaving;
        }
        for update in updates.iter().filter(|update| update.old.is_some()) {
            let (delete, _) = self.difference(update, node_before);
            let places = delete.into_iter().filter(|element| !is_own(element));
            leaving.extend(places.map(|element| ((element.set, element.key), Some(element.data))));
        }
        if leaving.is_empty() {
            return leaving;
        }
        let mut claimed = HashSet::new();
        for update in updates {
            let (delete, add) = self.difference(update, node_before);
            let own: HashSet<_> = delete.iter().map(|element| (element.set, element.key)).collect();
            let places = add.iter().map(|element| (element.set, element.key)).filter(|place| !own.contains(place));
            claimed.extend(places.filter(|place| leaving.contains_key(place)));
        }
        leaving.retain(|place, _| claimed.contains(place));
        leaving
    }

    fn elements(&self, programmed: Option<&Programmed>, node: &ServiceNode) -> Vec<Element> {
        let Some(programmed) = programmed else { return Vec::new() };
        let mut elements = match self.scope {
            Scope::Guard => Vec::new(),
            // Their sets come first in the order.
            Scope::Everything => programmed.service_elements(node, &self.classes),
        };
        elements.extend(programmed.guard_elements(node));
        elements
    }

    /// Everything that all Services ask for.
    pub(super) fn wanted(&self) -> HashMap<(SetId, Bytes), (Bytes, &ServiceRef)> {
        let services = self.services.iter();
        services
            .flat_map(|(service, programmed)| {
                let elements = self.elements(Some(programmed), &self.node);
                elements.into_iter().map(move |element| ((element.set, element.key), (element.data, service)))
            })
            .collect()
    }

    /// What an update removes and what it adds.
    fn difference(&self, update: &Update, node_before: &ServiceNode) -> (Vec<Element>, Vec<Element>) {
        let old = self.elements(update.old.as_ref(), node_before);
        let new = self.elements(update.new.as_ref(), &self.node);
        let without = |these: &[Element], those: &[Element]| {
            these.iter().filter(|element| those.binary_search(element).is_err()).copied().collect()
        };
        (without(&old, &new), without(&new, &old))
    }

    fn fill(&mut self, chunk: &mut Chunk, update: Update, node_before: &ServiceNode, moves: &mut Moves) {
        if self.scope == Scope::Everything {
            update.new.iter().for_each(|new| self.classes.acquire(new));
        }
        let (delete, add) = self.difference(&update, node_before);
        for element in delete {
            if element.set.purpose.is_shared() {
                if self.release(&element) {
                    chunk.delete(element);
                }
            } else if element.set.purpose.goes_last() {
                chunk.later.push(element);
            } else if !moves.contains_key(&(element.set, element.key)) {
                chunk.delete(element);
            }
        }
        for element in add {
            if element.set.purpose.is_shared() && !self.acquire(&element) {
                continue;
            }
            if let Some(data) = moves.get_mut(&(element.set, element.key)).and_then(Option::take) {
                chunk.delete(Element { data, ..element });
            }
            let left = self.leftover.as_mut().and_then(|leftover| leftover.remove(&(element.set, element.key)));
            match left {
                Some(data) if data == element.data => continue,
                Some(data) => chunk.delete(Element { data, ..element }),
                None => {}
            }
            chunk.add(element);
        }
        chunk.updates.push(update);
    }

    /// One more asks for it; whether nobody did before.
    fn acquire(&mut self, element: &Element) -> bool {
        let count = self.shared.entry((element.set, element.key)).or_default();
        *count += 1;
        *count == 1
    }

    /// One less asks for it; whether nobody does any more.
    fn release(&mut self, element: &Element) -> bool {
        let place = (element.set, element.key);
        let Some(count) = self.shared.get_mut(&place) else { return false };
        *count = count.saturating_sub(1);
        let nobody = *count == 0;
        if nobody {
            self.shared.remove(&place);
        }
        nobody
    }

    /// Carries out a chunk; when that fails, each Service of it by itself.
    fn finish(
        &mut self,
        chunk: Chunk,
        node_before: &ServiceNode,
        report: &mut ServiceReport,
        done: &mut Vec<Update>,
        later: &mut Vec<Element>,
    ) -> Result<(), DatapathError> {
        let Err((refused, updates)) = self.try_chunk(chunk, report, done, later) else { return Ok(()) };
        tracing::warn!(subject = %refused.subject, error = %refused.source, "the kernel refused changes of Services");
        if refused.is_surprise() {
            self.repair()?;
            let mut again = Chunk::default();
            let mut moves = self.moves(&updates, node_before);
            for update in updates {
                self.fill(&mut again, update, node_before, &mut moves);
            }
            return self.try_chunk(again, report, done, later).map_err(|(refused, _)| refused.into_error());
        }
        if !refused.is_full() {
            return Err(refused.into_error());
        }
        for update in updates {
            let service = update.service.clone();
            let mut single = Chunk::default();
            self.fill(&mut single, update, node_before, &mut Moves::new());
            match self.try_chunk(single, report, done, later) {
                Ok(()) => {}
                Err((refused, _)) if refused.is_full() => {
                    report.refused.push(Refusal { service, table: refused.subject, limit: 0 });
                }
                Err((refused, _)) => return Err(refused.into_error()),
            }
        }
        Ok(())
    }

    /// Carries out a chunk, or gives back its updates with everything as before.
    fn try_chunk(
        &mut self,
        chunk: Chunk,
        report: &mut ServiceReport,
        done: &mut Vec<Update>,
        later: &mut Vec<Element>,
    ) -> Result<(), (Refused, Vec<Update>)> {
        if let Err(refused) = self.commit(&chunk, report) {
            self.recount();
            return Err((refused, chunk.updates));
        }
        later.extend(chunk.later);
        done.extend(self.keep(chunk.updates));
        Ok(())
    }

    /// Remembers that updates were carried out.
    fn keep(&mut self, updates: Vec<Update>) -> Vec<Update> {
        for update in &updates {
            if self.scope == Scope::Everything {
                update.old.iter().for_each(|old| self.classes.release(old));
            }
            match &update.new {
                Some(new) => self.services.insert(update.service.clone(), new.clone()),
                None => self.services.remove(&update.service),
            };
        }
        updates
    }

    /// Counts anew who asks for what, after counts were changed for something that did not
    /// come about.
    fn recount(&mut self) {
        self.shared.clear();
        let services = std::mem::take(&mut self.services);
        self.classes.forget_uses();
        for programmed in services.values() {
            if self.scope == Scope::Everything {
                self.classes.acquire(programmed);
            }
            for element in self.elements(Some(programmed), &self.node.clone()) {
                if element.set.purpose.is_shared() {
                    self.acquire(&element);
                }
            }
        }
        self.services = services;
    }

    fn commit(&mut self, chunk: &Chunk, report: &mut ServiceReport) -> Result<(), Refused> {
        // In a transaction of its own: a packet that is under way sees rules as they were when it
        // came, but maps as they are now, and must not be led to a chain that is empty for it.
        let mut batch = Batch::new();
        for (class, number) in self.classes.unmade() {
            batch.add_class(&class, number, self.classes.generation);
        }
        report.writes += self.kernel.commit(batch)?;
        self.classes.made();
        let mut batch = Batch::new();
        let (mut delete, mut add) = (chunk.delete.clone(), chunk.add.clone());
        delete.sort_unstable();
        add.sort_unstable();
        batch.delete_elements(&delete);
        batch.add_elements(&add);
        report.writes += self.kernel.commit(batch)?;
        self.count(&delete, &add);
        Ok(())
    }

    fn count(&mut self, deleted: &[Element], added: &[Element]) {
        for element in added {
            *self.counts.entry(element.set).or_default() += 1;
        }
        for element in deleted {
            let count = self.counts.entry(element.set).or_default();
            *count = count.saturating_sub(1);
        }
    }

    /// Removes what nothing leads to any more.
    pub(super) fn delete_all(&mut self, mut elements: Vec<Element>) -> Result<u64, DatapathError> {
        elements.sort_unstable();
        let per_batch = self.kernel.batch_limit_bytes() / (2 * ELEMENT_OVERHEAD_BYTES + Bytes::MAX);
        let mut writes = 0;
        for part in elements.chunks(per_batch.max(1)) {
            let mut batch = Batch::new();
            batch.delete_elements(part);
            writes += self.kernel.commit(batch).map_err(Refused::into_error)?;
            self.count(part, &[]);
        }
        let mut batch = Batch::new();
        for (set, number) in self.classes.take_unused() {
            batch.delete_class(set, number);
        }
        writes += self.kernel.commit(batch).map_err(Refused::into_error)?;
        Ok(writes)
    }
}

/// Whether no other Service can have the element.
fn is_own(element: &Element) -> bool {
    element.set.purpose.is_shared() || element.set.purpose.goes_last()
}

// === impl Chunk ===

impl Chunk {
    fn add(&mut self, element: Element) {
        self.bytes += bytes(&element);
        self.add.push(element);
    }

    fn delete(&mut self, element: Element) {
        self.bytes += bytes(&element);
        self.delete.push(element);
    }
}

fn bytes(element: &Element) -> usize {
    ELEMENT_OVERHEAD_BYTES + element.key.as_slice().len() + element.data.as_slice().len()
}
