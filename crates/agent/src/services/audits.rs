//! Audits of the data path of Services, a part at a time: at many Services a whole one takes longer
//! than a changed endpoint may wait.

use std::time::{Duration, Instant};

use seaway_datapath::ServiceDatapath;
use seaway_model::Diagnose as _;
use seaway_model::agent_api::Failure;
use tokio::sync::oneshot;

use crate::error::datapath_failure;

type Reply = oneshot::Sender<Result<Vec<String>, Failure>>;

/// The audit under way, and who waits for one.
pub(super) struct Audits {
    /// What differed until now, and who asked for this audit; none: none is under way.
    current: Option<(Vec<String>, Vec<Reply>)>,
    /// Who asked when one was under way already: it may have passed by what they mean.
    next: Vec<Reply>,
    started_at: Instant,
}

// === impl Audits ===

impl Audits {
    pub(super) fn new(now: Instant) -> Self {
        Self { current: None, next: Vec::new(), started_at: now }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    /// How long ago the last began.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.duration_since(self.started_at)
    }

    /// Begins one, unless one is under way.
    pub(super) fn start(&mut self, now: Instant) {
        self.started_at = now;
        self.current.get_or_insert_default();
    }

    /// Somebody wants to know what differs from now on.
    pub(super) fn ask(&mut self, reply: Reply, now: Instant) {
        if self.is_under_way() {
            self.next.push(reply);
        } else {
            self.started_at = now;
            self.current = Some((Vec::new(), vec![reply]));
        }
    }

    /// Carries out the next part.
    pub(super) fn go_on(&mut self, datapath: &mut dyn ServiceDatapath) {
        let Some((found, _)) = &mut self.current else { return };
        let result = match datapath.audit_step() {
            Ok(step) => {
                for difference in &step.differences {
                    tracing::warn!(cause = difference.cause, "repaired: {}", difference.what);
                }
                found.extend(step.differences.iter().map(ToString::to_string));
                if !step.is_last {
                    return;
                }
                Ok(std::mem::take(found))
            }
            Err(error) => {
                tracing::error!(id = %error.id(), fix = error.fix(), "audit of Services failed: {error}");
                Err(datapath_failure(&error))
            }
        };
        for reply in self.current.take().into_iter().flat_map(|(_, asked)| asked) {
            // Who asked may have gone.
            let _ = reply.send(result.clone());
        }
        if !self.next.is_empty() {
            self.current = Some((Vec::new(), std::mem::take(&mut self.next)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use seaway_datapath::services::{AuditStep, ServiceUsage};
    use seaway_datapath::{DatapathError, DatapathErrors, Difference, ServiceNode, ServiceReport};
    use seaway_services::plan::PlanChange;

    use super::*;

    /// Audits in parts that are given.
    struct Parts(VecDeque<AuditStep>);

    impl ServiceDatapath for Parts {
        fn set_node(&mut self, _: &ServiceNode) -> Result<(), DatapathError> {
            Ok(())
        }

        fn apply(&mut self, _: &[PlanChange]) -> Result<ServiceReport, DatapathError> {
            Ok(ServiceReport::default())
        }

        fn synced(&mut self) -> Result<ServiceReport, DatapathError> {
            Ok(ServiceReport::default())
        }

        fn audit(&mut self) -> Result<Vec<Difference>, DatapathError> {
            panic!("audits go in parts")
        }

        fn audit_step(&mut self) -> Result<AuditStep, DatapathError> {
            Ok(self.0.pop_front().expect("no more parts than there are"))
        }

        fn usage(&mut self) -> Result<ServiceUsage, DatapathError> {
            Ok(ServiceUsage::default())
        }

        fn uninstall(&mut self) -> Result<(), DatapathErrors> {
            Ok(())
        }
    }

    fn part(what: &str, is_last: bool) -> AuditStep {
        let difference = Difference { what: what.to_owned(), cause: "nobody".to_owned() };
        AuditStep { differences: vec![difference], is_last }
    }

    #[test]
    fn who_asks_while_an_audit_is_under_way_gets_the_next() {
        let mut datapath = Parts([part("a", false), part("b", true), part("c", true)].into());
        let now = Instant::now();
        let mut audits = Audits::new(now);
        let (first, mut told_first) = oneshot::channel();
        let (second, mut told_second) = oneshot::channel();
        audits.ask(first, now);
        audits.go_on(&mut datapath);
        assert!(told_first.try_recv().is_err(), "it is not through");
        audits.ask(second, now);
        audits.go_on(&mut datapath);
        let lines = |told: Result<Vec<String>, Failure>| told.unwrap().len();
        assert_eq!(lines(told_first.try_recv().unwrap()), 2);
        assert!(told_second.try_recv().is_err() && audits.is_under_way());
        audits.go_on(&mut datapath);
        assert_eq!(lines(told_second.try_recv().unwrap()), 1);
        assert!(!audits.is_under_way());
    }
}
