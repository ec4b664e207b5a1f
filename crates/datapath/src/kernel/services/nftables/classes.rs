//! Numbers of classes, and how many Services use each.

use std::collections::HashMap;

use super::elements::{ClassNumbers, Programmed};
use super::layout::SetId;
use super::rules::{Class, UNTRANSLATED, class_set};

/// The classes that have a chain, or are about to.
#[derive(Debug)]
pub(super) struct Classes {
    known: HashMap<Class, Known>,
    pub(super) next: u32,
    /// Which sets of slots their chains look into.
    pub(super) generation: u32,
    /// Classes without a chain yet.
    unmade: Vec<Class>,
}

#[derive(Debug)]
struct Known {
    number: u32,
    uses: u64,
}

/// Classes kept though nobody uses them: the next Service with as many endpoints will.
const UNUSED_LIMIT: usize = 256;

// === impl Classes ===

impl Default for Classes {
    fn default() -> Self {
        Self { known: HashMap::new(), next: UNTRANSLATED + 1, generation: 1, unmade: Vec::new() }
    }
}

impl ClassNumbers for Classes {
    fn number(&self, class: &Class) -> u32 {
        // A class is acquired before elements are made that name it.
        self.known.get(class).map_or(UNTRANSLATED, |known| known.number)
    }

    fn generation(&self) -> u32 {
        self.generation
    }
}

impl Classes {
    /// A Service uses its classes from now on.
    pub(super) fn acquire(&mut self, programmed: &Programmed) {
        for class in programmed.classes() {
            let known = self.known.entry(class).or_insert_with(|| {
                let number = self.next;
                self.next = if number >= u32::MAX >> 1 { UNTRANSLATED + 1 } else { number + 1 };
                self.unmade.push(class);
                Known { number, uses: 0 }
            });
            known.uses += 1;
        }
    }

    /// A Service does not use its classes any more.
    pub(super) fn release(&mut self, programmed: &Programmed) {
        for class in programmed.classes() {
            if let Some(known) = self.known.get_mut(&class) {
                known.uses = known.uses.saturating_sub(1);
            }
        }
    }

    /// Nobody uses any class, until they acquire them again.
    pub(super) fn forget_uses(&mut self) {
        self.known.values_mut().for_each(|known| known.uses = 0);
    }

    /// Classes whose chain is to be made, with their numbers.
    pub(super) fn unmade(&self) -> Vec<(Class, u32)> {
        self.unmade.iter().map(|class| (*class, self.number(class))).collect()
    }

    /// The chains of all classes were made.
    pub(super) fn made(&mut self) {
        self.unmade.clear();
    }

    /// The chains of all classes are gone.
    pub(super) fn lost(&mut self) {
        self.unmade = self.known.keys().copied().collect();
    }

    /// Classes that have a chain.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Class, u32)> {
        self.known.iter().map(|(class, known)| (class, known.number))
    }

    /// Forgets classes that nobody uses when they are many, and says which have a chain that may go.
    pub(super) fn take_unused(&mut self) -> Vec<(SetId, u32)> {
        let mut unused = Vec::new();
        if self.known.values().filter(|known| known.uses == 0).count() <= UNUSED_LIMIT {
            return unused;
        }
        self.known.retain(|class, known| {
            if known.uses == 0 && !self.unmade.contains(class) {
                unused.push((class_set(class), known.number));
            }
            known.uses > 0
        });
        self.unmade.retain(|class| self.known.contains_key(class));
        unused
    }
}
