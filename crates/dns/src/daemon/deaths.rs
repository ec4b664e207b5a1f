//! When the next worker is started after one ended.

use std::time::Duration;

use super::WORKER_PAUSE;

/// So many that die young are followed at once: somebody kills them. More in a row cannot start, and
/// trying on would only burn the processor.
const FOLLOWED_AT_ONCE: u32 = 3;

/// Counts workers that died young, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    young: u32,
}

// === impl Deaths ===

impl Deaths {
    /// One ended that lived so long; how long to wait before the next.
    pub(crate) fn pause_after(&mut self, lived: Duration) -> Duration {
        self.young = if lived < WORKER_PAUSE { self.young.saturating_add(1) } else { 0 };
        if self.young > FOLLOWED_AT_ONCE { WORKER_PAUSE } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_is_followed_at_once_and_who_cannot_start_is_not() {
        let mut deaths = Deaths::default();
        let millis = Duration::from_millis;
        let mut pauses =
            |lived: &[u64]| lived.iter().map(|lived| deaths.pause_after(millis(*lived))).collect::<Vec<_>>();
        assert_eq!(pauses(&[10, 400, 10]), [Duration::ZERO; 3], "killed while young, and again");
        assert_eq!(pauses(&[10, 10]), [WORKER_PAUSE; 2], "it cannot start");
        assert_eq!(pauses(&[10_000, 10]), [Duration::ZERO; 2], "one that lived ends that");
    }
}
