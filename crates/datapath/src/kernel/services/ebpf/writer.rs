//! Carries steps out: sets, then frontends, then what is no longer needed. Many Services at a
//! time; when something does not fit, one at a time, so that only those are refused that are
//! too much.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use seaway_model::ServiceRef;
use seaway_model::abi::services::{ConnectionsKey, ServiceKey};
use seaway_services::plan::{PlanChange, ServicePlan};

use super::image::{self, Room};
use super::state::{Claims, State, Step};
use super::tables::{SetEntries, Tables};
use crate::kernel::bpf::BpfError;
use crate::services::{Refusal, ServiceReport};

/// Entries written in one go. Larger batches gain nothing, and hold memory twice.
const ENTRIES_AT_ONCE: u64 = 32_768;

/// A batch on its way into the kernel.
pub(super) struct Writer<'a> {
    tables: &'a Tables,
    state: &'a mut State,
    /// Steps to be carried out together.
    waiting: Vec<Step>,
    waiting_services: HashSet<ServiceRef>,
    waiting_room: Room,
    /// Sets that frontends name until another Service has taken the place over.
    sets_given_up: SetEntries,
    given_up: Vec<(ServiceKey, u32)>,
    departures: Vec<ConnectionsKey>,
    report: ServiceReport,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    pub(super) fn new(tables: &'a Tables, state: &'a mut State) -> Self {
        Self {
            tables,
            state,
            waiting: Vec::new(),
            waiting_services: HashSet::new(),
            waiting_room: Room::default(),
            sets_given_up: SetEntries::default(),
            given_up: Vec::new(),
            departures: Vec::new(),
            report: ServiceReport::default(),
        }
    }

    /// Carries out a batch. Returns also the backends whose connections have to be ended.
    pub(super) fn apply(mut self, changes: &[PlanChange]) -> Result<(ServiceReport, Vec<ConnectionsKey>), BpfError> {
        let claims = claims(changes);
        for change in changes {
            let service = match change {
                PlanChange::Set(plan) => &plan.service,
                PlanChange::Remove(service) => service,
            };
            if self.waiting_services.contains(service) {
                self.flush()?;
            }
            match change {
                PlanChange::Set(plan) => self.set(plan, &claims)?,
                PlanChange::Remove(service) => {
                    let step = self.state.step_away(service, &claims);
                    self.wait(step);
                }
            }
            if self.waiting_room.total() > ENTRIES_AT_ONCE {
                self.flush()?;
            }
        }
        self.flush()?;
        self.finish()
    }

    /// Prepares a Service, if there is room for it beside what waits, or when that is through.
    fn set(&mut self, plan: &Arc<ServicePlan>, claims: &Claims<'_>) -> Result<(), BpfError> {
        let Some(step) = self.state.step_to(plan, claims) else { return Ok(()) };
        if self.full_table(&step).is_none() {
            self.wait(Some(step));
            return Ok(());
        }
        self.flush()?;
        let Some(step) = self.state.step_to(plan, claims) else { return Ok(()) };
        match self.full_table(&step) {
            None => self.wait(Some(step)),
            Some((table, limit)) => self.refuse(step, table, limit),
        }
        Ok(())
    }

    /// The first table in which the step does not fit beside what waits.
    fn full_table(&self, step: &Step) -> Option<(&'static str, u64)> {
        let needed = self.state.used.plus(&self.waiting_room).plus(&step.room(self.state.new_places(step)));
        let mut tables = self.tables.limits().into_iter().zip(needed.by_table());
        tables.find(|((_, limit), needed)| needed > limit).map(|(table, _)| table)
    }

    fn refuse(&mut self, step: Step, table: &str, limit: u64) {
        self.state.refused(&step);
        self.report.refused.push(Refusal { service: step.service, table: table.to_owned(), limit });
    }

    fn wait(&mut self, step: Option<Step>) {
        let Some(step) = step else { return };
        self.waiting_room = self.waiting_room.plus(&step.room(self.state.new_places(&step)));
        self.waiting_services.insert(step.service.clone());
        self.waiting.push(step);
    }

    /// Carries out what waits.
    fn flush(&mut self) -> Result<(), BpfError> {
        let steps = mem::take(&mut self.waiting);
        self.waiting_services.clear();
        self.waiting_room = Room::default();
        if steps.is_empty() {
            return Ok(());
        }
        match self.write(&steps) {
            Ok(()) => {}
            Err(BpfError::MapFull { .. }) if steps.len() > 1 => {
                for step in steps {
                    self.write_alone(step)?;
                }
                return Ok(());
            }
            Err(error) => return self.refuse_or_fail(steps, error),
        }
        self.clean_up(steps)
    }

    fn write_alone(&mut self, step: Step) -> Result<(), BpfError> {
        match self.write(std::slice::from_ref(&step)) {
            Ok(()) => self.clean_up(vec![step]),
            Err(error) => self.refuse_or_fail(vec![step], error),
        }
    }

    fn refuse_or_fail(&mut self, steps: Vec<Step>, error: BpfError) -> Result<(), BpfError> {
        let BpfError::MapFull { map, limit } = error else { return Err(error) };
        for step in steps {
            self.refuse(step, &map, limit);
        }
        Ok(())
    }

    /// Writes the steps' sets and frontends; leaves nothing of them when something fails.
    fn write(&mut self, steps: &[Step]) -> Result<(), BpfError> {
        for (done, step) in steps.iter().enumerate() {
            let ranges = self.tables.source_ranges.put_all(&step.fresh_ranges, &vec![1; step.fresh_ranges.len()]);
            let sets = ranges.and_then(|()| step.fresh_sets.write(self.tables));
            match sets {
                Ok(writes) => self.report.writes += writes + step.fresh_ranges.len() as u64,
                Err(error) => {
                    self.undo(steps.get(..=done).unwrap_or_default());
                    return Err(error);
                }
            }
        }
        let (keys, values): (Vec<_>, Vec<_>) = steps.iter().flat_map(|step| step.frontends.iter().copied()).unzip();
        if let Err(error) = self.tables.services.put_all(&keys, &values) {
            self.undo(steps);
            return Err(error);
        }
        self.report.writes += keys.len() as u64;
        Ok(())
    }

    /// Puts the frontends of steps back as they were and removes their sets. What fails here is
    /// found by the audit.
    fn undo(&mut self, steps: &[Step]) {
        for step in steps {
            for (key, value) in &step.frontends {
                let before = self.state.frontends.get(key).map(|placed| placed.value);
                let before = before.or_else(|| self.state.leftovers.frontend(key));
                let undone = match before {
                    Some(before) if before == *value => Ok(()),
                    Some(before) => self.tables.services.put(key, &before),
                    None => self.tables.services.remove_all(std::slice::from_ref(key)).map(drop),
                };
                undone.unwrap_or_else(|error| tracing::error!(%error, "a frontend could not be put back"));
            }
            let undone = self.tables.source_ranges.remove_all(&step.fresh_ranges).map(drop);
            let undone = step.fresh_sets.remove(self.tables).map(drop).and(undone);
            undone.unwrap_or_else(|error| tracing::error!(%error, "entries of a Service could not be taken back"));
        }
    }

    /// Removes what the steps have made superfluous, and takes note.
    fn clean_up(&mut self, steps: Vec<Step>) -> Result<(), BpfError> {
        let gone: Vec<ServiceKey> = steps.iter().flat_map(|step| step.gone.iter().copied()).collect();
        self.report.writes += self.tables.services.remove_all(&gone)?;
        let mut old_sets = SetEntries::default();
        let mut old_ranges = Vec::new();
        for mut step in steps {
            let new_places = self.state.new_places(&step);
            self.state.used = self.state.used.plus(&step.room(new_places)).minus(&step.freed());
            let sets = mem::take(&mut step.old_sets);
            if step.given_up.is_empty() {
                old_sets.append(sets);
            } else {
                let owner = self.state.services.get(&step.service).map_or(0, |before| before.owner);
                self.given_up.extend(step.given_up.iter().map(|key| (*key, owner)));
                self.sets_given_up.append(sets);
            }
            old_ranges.append(&mut step.old_ranges);
            self.departures.append(&mut step.departures);
            self.state.done(step);
        }
        self.report.writes += self.tables.source_ranges.remove_all(&old_ranges)?;
        self.report.writes += old_sets.remove(self.tables)?;
        Ok(())
    }

    /// Places that a Service has given up and nobody took after all, and the sets they named.
    fn finish(mut self) -> Result<(ServiceReport, Vec<ConnectionsKey>), BpfError> {
        let is_still_theirs = |(key, owner): &(ServiceKey, u32)| {
            self.state.frontends.get(key).is_some_and(|placed| placed.owner == *owner)
        };
        let untaken: Vec<ServiceKey> =
            self.given_up.iter().filter(|place| is_still_theirs(place)).map(|(key, _)| *key).collect();
        for key in &untaken {
            self.state.frontends.remove(key);
        }
        let removed = self.tables.services.remove_all(&untaken)?;
        self.state.used = self.state.used.minus(&Room { frontends: removed, ..Room::default() });
        self.report.writes += removed + self.sets_given_up.remove(self.tables)?;
        Ok((self.report, self.departures))
    }
}

/// Who asks for which place; the last one of a batch has it.
fn claims(changes: &[PlanChange]) -> Claims<'_> {
    let mut claims = HashMap::new();
    for change in changes {
        let PlanChange::Set(plan) = change else { continue };
        for frontend in &plan.frontends {
            claims.insert(image::service_key(frontend), &plan.service);
        }
    }
    claims
}
