//! What a replica does after a look at the lease. Pure.

use std::time::Duration;

/// The lease as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) holder: Option<String>,
    /// Changes with every renewal.
    pub(super) version: String,
    pub(super) duration: Duration,
    pub(super) transitions: i32,
}

/// When we first saw this version of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    version: String,
    at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// `now` is our own clock's; the returned sighting goes into the next call.
pub(super) fn decide(
    record: Option<&Record>,
    last: Option<&Sighting>,
    me: &str,
    now: Duration,
) -> (Step, Option<Sighting>) {
    let Some(record) = record else { return (Step::Create, None) };
    let sighting = match last {
        Some(last) if last.version == record.version => last.clone(),
        _ => Sighting { version: record.version.clone(), at: now },
    };
    let step = match &record.holder {
        Some(holder) if holder == me => Step::Renew,
        None => Step::TakeOver,
        Some(_) if now >= sighting.at + record.duration => Step::TakeOver,
        Some(_) => Step::Wait,
    };
    (step, Some(sighting))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: Option<&str>, version: &str) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            version: version.into(),
            duration: Duration::from_secs(15),
            transitions: 0,
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_waits_for_a_lease_that_nobody_holds() {
        assert_eq!(decide(None, None, "me", secs(0)).0, Step::Create);
        assert_eq!(decide(Some(&record(None, "1")), None, "me", secs(0)).0, Step::TakeOver);
        assert_eq!(decide(Some(&record(Some("me"), "1")), None, "me", secs(0)).0, Step::Renew);
    }

    #[test]
    fn a_lease_runs_out_when_no_renewal_was_seen_for_its_duration() {
        let (step, seen) = decide(Some(&record(Some("other"), "1")), None, "me", secs(100));
        assert_eq!(step, Step::Wait);
        let (step, seen) = decide(Some(&record(Some("other"), "1")), seen.as_ref(), "me", secs(114));
        assert_eq!(step, Step::Wait);
        let (step, seen) = decide(Some(&record(Some("other"), "2")), seen.as_ref(), "me", secs(115));
        assert_eq!(step, Step::Wait, "renewed in the last moment");
        let (step, _) = decide(Some(&record(Some("other"), "2")), seen.as_ref(), "me", secs(130));
        assert_eq!(step, Step::TakeOver);
    }
}
