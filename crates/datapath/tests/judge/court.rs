//! Plays scenarios before a judge and counts; a disagreement is made small and shown.

pub(crate) mod golden;
pub(crate) mod shrink;

use std::fmt;
use std::time::{Duration, Instant};

use crate::generate::{self, Size};
use crate::world::scenario::{Probe, Scenario};

/// Something that can be asked where packets go.
pub(crate) trait Judge {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Plays a scenario from nothing; the number of cases, or the first that is wrong.
    fn play(&mut self, scenario: &Scenario) -> Result<u64, Disagreement>;
}

/// A packet that went elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disagreement {
    /// In which round.
    pub(crate) round: usize,
    /// The question; none: the state itself was wrong.
    pub(crate) probe: Option<Probe>,
    /// What was right and what was.
    pub(crate) what: String,
}

/// How much is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Docket {
    /// The first scenario's seed.
    pub(crate) seed: u64,
    /// Cases at least.
    pub(crate) cases: u64,
    /// How large each scenario is.
    pub(crate) size: Size,
}

/// Plays golden scenarios, then random ones, until there were enough cases. Panics with the smallest
/// scenario that shows a disagreement.
pub(crate) fn hold(judge: &mut dyn Judge, docket: Docket) {
    let start = Instant::now();
    let mut cases = 0;
    for (file, scenario) in golden::all() {
        match judge.play(&scenario) {
            Ok(count) => cases += count,
            Err(disagreement) => panic!("{}: {file} ({}): {disagreement}", judge.name(), scenario.about),
        }
    }
    let (golden, mut scenarios) = (cases, 0);
    while cases < docket.cases {
        let seed = docket.seed.wrapping_add(scenarios);
        let scenario = generate::scenario(seed, docket.size);
        match judge.play(&scenario) {
            Ok(count) => cases += count,
            Err(disagreement) => condemn(judge, scenario, disagreement),
        }
        scenarios += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{}: {cases} cases in {scenarios} random scenarios from seed {} and {golden} golden cases, {seconds:.1} s",
        judge.name(),
        docket.seed,
    );
}

fn condemn(judge: &mut dyn Judge, scenario: Scenario, disagreement: Disagreement) -> ! {
    let about = scenario.about.clone();
    eprintln!("{}: {about}: {disagreement}; making it smaller", judge.name());
    let (small, disagreement) = shrink::shrink(judge, scenario, disagreement, Duration::from_secs(60));
    let text = serde_json::to_string_pretty(&small).expect("JSON");
    panic!(
        "{}: {about}: {disagreement}\nSay in `about` what it shows and keep it in tests/judge/golden/:\n{text}",
        judge.name()
    );
}

// === impl Disagreement ===

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}: ", self.round)?;
        if let Some(probe) = self.probe {
            write!(f, "{:?} to {} port {} {}: ", probe.client, probe.to, probe.port, probe.protocol)?;
        }
        f.write_str(&self.what)
    }
}
