//! Whether a `DNSConfig` can be used: what the DNS servers will say, said where people look.

use std::collections::BTreeMap;

use seaway_dns::views::upstreams::Numbers;
use seaway_dns::views::{Flaw, compile};
use seaway_kubeapi::{Accepted, DnsConfigObject, DnsConfigObjects};

/// Everything can be used.
pub(crate) const VALID: &str = "Valid";
/// Something cannot; the last good form stays in force.
pub(crate) const INVALID: &str = "InvalidField";

/// What was found of each object, and at which generation. A new leader starts with none of it.
#[derive(Debug, Default)]
pub(crate) struct DnsConfigMemory {
    judged: BTreeMap<String, Accepted>,
}

/// A condition to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) accepted: Accepted,
    /// People are told by an event too: the object is refused, and nobody said so yet.
    pub(crate) warn: bool,
}

// === impl DnsConfigMemory ===

impl DnsConfigMemory {
    /// Judges what is new, and gives the conditions that differ from those the objects have.
    pub(crate) fn judge(&mut self, objects: &DnsConfigObjects) -> Vec<Verdict> {
        self.judged.retain(|name, _| objects.contains_key(name));
        let mut verdicts = Vec::new();
        for (name, object) in objects {
            let known = self.judged.get(name).filter(|known| known.generation == object.generation);
            let accepted = known.cloned().unwrap_or_else(|| accepted(object));
            self.judged.insert(name.clone(), accepted.clone());
            let told = object.accepted.as_ref();
            let same = |told: &&Accepted| {
                (told.accepted, &told.reason, &told.message, told.generation)
                    == (accepted.accepted, &accepted.reason, &accepted.message, accepted.generation)
            };
            if told.filter(same).is_some() {
                continue;
            }
            // The time stays when the state did not change.
            let since = told.filter(|told| told.accepted == accepted.accepted).map(|told| told.since.clone());
            let warn = !accepted.accepted && told.is_none_or(|told| told.message != accepted.message);
            let accepted = Accepted { since: since.unwrap_or_default(), ..accepted };
            verdicts.push(Verdict { name: name.clone(), accepted, warn });
        }
        verdicts
    }
}

fn accepted(object: &DnsConfigObject) -> Accepted {
    let (accepted, reason, message) = match compile(&object.spec, &mut Numbers::default()) {
        Ok(_) => (true, VALID, "every field can be used".to_owned()),
        Err(flaws) => (false, INVALID, message(&flaws)),
    };
    Accepted { accepted, reason: reason.to_owned(), message, generation: object.generation, since: String::new() }
}

fn message(flaws: &[Flaw]) -> String {
    let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    // The API takes 32 KiB; people read the first lines.
    flaws.join("; ").chars().take(4096).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seaway_model::dns::{DnsHost, DnsSpec};

    use super::*;

    fn objects(generation: i64, address: &str, accepted: Option<Accepted>) -> DnsConfigObjects {
        let hosts = vec![DnsHost { name: "printer.office".into(), addresses: vec![address.into()] }];
        let spec = Arc::new(DnsSpec { hosts, ..DnsSpec::default() });
        DnsConfigObjects::from([("office".to_owned(), DnsConfigObject { generation, spec, accepted })])
    }

    #[test]
    fn a_broken_object_is_refused_by_the_path_of_its_field_and_warned_of_once() {
        let mut memory = DnsConfigMemory::default();
        let [verdict] = memory.judge(&objects(1, "ten", None)).try_into().unwrap();
        let Accepted { accepted, reason, message, generation, .. } = verdict.accepted.clone();
        assert_eq!((accepted, reason.as_str(), generation), (false, INVALID, 1));
        assert!(message.starts_with("spec.hosts[0].addresses[0]: \"ten\""), "{message}");
        assert!(verdict.warn);
        assert_eq!(memory.judge(&objects(1, "ten", Some(verdict.accepted.clone()))), [], "it was written");
        let told = Accepted { since: "2026-01-01T00:00:00Z".into(), ..verdict.accepted };
        let [again] = memory.judge(&objects(2, "ten", Some(told))).try_into().unwrap();
        assert!(!again.warn && again.accepted.since == "2026-01-01T00:00:00Z", "{again:?}");
    }

    #[test]
    fn a_repaired_object_is_accepted_from_now_on() {
        let mut memory = DnsConfigMemory::default();
        let [refused] = memory.judge(&objects(1, "ten", None)).try_into().unwrap();
        let told = Accepted { since: "2026-01-01T00:00:00Z".into(), ..refused.accepted };
        let [verdict] = memory.judge(&objects(2, "192.0.2.1", Some(told))).try_into().unwrap();
        assert!(verdict.accepted.accepted && verdict.accepted.since.is_empty() && !verdict.warn);
    }
}
