//! The table that refuses what was not translated: places without endpoints, unknown ports of
//! Service addresses, unassigned Service addresses.
//!
//! It looks at packets after translation, where they enter a process of the node, leave
//! one, or pass through. What still has a Service's address there was translated by nobody.

use super::batch::{Batch, Hook};
use super::layout::{GUARD_TABLE, Purpose, SetId};
use super::rule::{Meta, Register, Rule, Verdict};
use super::rules::{Family, NF_INET_FORWARD, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, only_new, only_untranslated};

const PLACE: Register = Register(0);
const REJECT: &str = "reject";
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// After all translation (-100), before filters of others (0), whose counters then see only
/// what passes.
const PRIORITY: i32 = -10;

fn rule(chain: &str, purpose: &'static str) -> Rule {
    Rule::new(GUARD_TABLE, chain, purpose)
}

/// Writes sets, chains and rules into the new table.
pub(super) fn add(batch: &mut Batch) {
    for set in SetId::of_table(GUARD_TABLE) {
        batch.add_set(&set.definition());
    }
    batch.add_chain(GUARD_TABLE, REJECT, None);
    for (chain, number) in [("input", NF_INET_LOCAL_IN), ("forward", NF_INET_FORWARD), ("output", NF_INET_LOCAL_OUT)] {
        batch.add_chain(GUARD_TABLE, chain, Some(Hook { kind: "filter", number, priority: PRIORITY }));
    }
    for rule in rules() {
        batch.add_rule(&rule);
    }
}

/// All rules.
pub(super) fn rules() -> Vec<Rule> {
    let tcp = rule(REJECT, "TCP is reset").meta(PLACE, Meta::L4Proto).equals(PLACE, &[TCP]).reset();
    let mut rules = vec![tcp, rule(REJECT, "Everything else is unreachable").unreachable()];
    for chain in ["input", "forward", "output"] {
        for family in Family::BOTH {
            let new = |purpose| only_untranslated(only_new(family.only(rule(chain, purpose))));
            let place = |purpose| family.load_place(new(purpose));
            let address = |purpose| family.load_destination(new(purpose));
            let reject = Verdict::Goto(REJECT);
            rules.extend([
                place("No endpoint on this node").within(PLACE, family.set(Purpose::Dropped)).verdict(&Verdict::Drop),
                place("No endpoint").within(PLACE, family.set(Purpose::Rejected)).verdict(&reject),
                address("Unknown port").within(PLACE, family.set(Purpose::Addresses)).verdict(&reject),
                address("Unassigned").within(PLACE, family.set(Purpose::ServiceRanges)).verdict(&Verdict::Drop),
            ]);
        }
    }
    rules
}
