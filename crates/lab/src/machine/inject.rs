//! Breaks a lab on purpose and heals it again. What lasts is kept in the state
//! file, so that any later command can heal it.

use rustix::process::Signal;

use super::fault::{Fault, nft_script};
use super::layout::{HostKind, WIRE};
use super::process::{ProcessId, is_program};
use super::state::LabState;
use super::{LabLock, Machine, cgroup, create, wire};
use crate::error::{IoContext, LabError, Result};

/// The kernel's least MTU of a veth (`ETH_MIN_MTU` in linux/if_ether.h).
const MIN_LINK_MTU_BYTES: u32 = 68;

/// What can be asked for: a fault that lasts until it is healed, or something
/// that is over at once.
#[derive(Debug, Clone, PartialEq, clap::Subcommand)]
pub enum Breakage {
    /// In force until it is healed.
    #[command(flatten)]
    Lasting(Fault),
    /// Kill a program with SIGKILL; who started it starts it again.
    Kill {
        /// The node.
        node: String,
        /// The program: kubelet, containerd, etcd, agent, …
        program: String,
    },
    /// Switch a node off and on again.
    PowerCycle {
        /// The node.
        node: String,
    },
}

// === impl Breakage ===

impl From<Fault> for Breakage {
    fn from(fault: Fault) -> Self {
        Self::Lasting(fault)
    }
}

// === impl Machine ===

impl Machine {
    /// Breaks something; returns what was done, in words.
    pub fn break_down(&mut self, what: &Breakage) -> Result<String> {
        let _lock = self.hold()?;
        let mut state = LabState::read(&self.dir)?;
        let done = self.inject(&mut state, what)?;
        self.keep(&state)?;
        Ok(done)
    }

    /// Heals the faults that `words` name, all without words; returns them.
    pub fn heal(&mut self, words: &[String]) -> Result<Vec<Fault>> {
        let _lock = self.hold()?;
        let mut state = LabState::read(&self.dir)?;
        self.note_dead_nodes(&mut state);
        let (healed, kept): (Vec<Fault>, Vec<Fault>) =
            state.faults.iter().cloned().partition(|fault| fault.is_named(words));
        if healed.is_empty() && !words.is_empty() {
            let reason = match state.faults.as_slice() {
                [] => "nothing is broken".to_owned(),
                faults => format!("broken are: {}", faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(", ")),
            };
            return Err(LabError::NotBroken { what: words.join(" "), reason });
        }
        state.faults = kept;
        // Power first: the other faults concern links and programs it brings.
        for fault in &healed {
            if let Fault::Power { node } = fault {
                self.power_on(&mut state, node)?;
            }
        }
        for fault in &healed {
            self.undo(&state, fault)?;
        }
        self.keep(&state)?;
        Ok(healed)
    }

    /// The faults in force, dead nodes included.
    pub fn faults(&self) -> Result<Vec<Fault>> {
        let mut state = LabState::read(&self.dir)?;
        self.note_dead_nodes(&mut state);
        Ok(state.faults)
    }

    fn inject(&self, state: &mut LabState, what: &Breakage) -> Result<String> {
        match what {
            Breakage::Kill { node, program } => {
                let processes = self.signal_program(node, program, Signal::KILL)?;
                Ok(format!("killed {program} on {node} ({} processes)", processes.len()))
            }
            Breakage::PowerCycle { node } => {
                self.known_node(node)?;
                self.power_off(state, node)?;
                self.power_on(state, node)?;
                Ok(format!("switched {node} off and on"))
            }
            Breakage::Lasting(fault) => self.inject_lasting(state, fault.clone()),
        }
    }

    fn inject_lasting(&self, state: &mut LabState, mut fault: Fault) -> Result<String> {
        self.check(state, &fault)?;
        match &mut fault {
            Fault::Freeze { node, program, processes } => {
                *processes = self.signal_program(node, program, Signal::STOP)?;
            }
            Fault::Power { node } => self.power_off(state, node)?,
            Fault::Link { .. } | Fault::Partition { .. } | Fault::Mtu { .. } | Fault::Loss { .. } => {}
        }
        let told = format!("broke {fault}");
        // The same fault again replaces the one there is.
        state.faults.retain(|known| known.words() != fault.words());
        state.faults.push(fault);
        self.enforce(state)?;
        Ok(told)
    }

    /// Refuses what the lab does not have or cannot be.
    fn check(&self, state: &LabState, fault: &Fault) -> Result<()> {
        let refused = |reason: String| Err(LabError::Fault { what: fault.words().join(" "), reason });
        match fault {
            Fault::Partition { rack } => return self.known_rack(rack),
            Fault::Link { node } | Fault::Power { node } | Fault::Freeze { node, .. } => self.known_node(node)?,
            Fault::Mtu { node, .. } | Fault::Loss { node, .. } => self.known_node(node)?,
        };
        match fault {
            Fault::Mtu { bytes, .. } if !(MIN_LINK_MTU_BYTES..=state.spec.link_mtu_bytes).contains(bytes) => {
                let most = state.spec.link_mtu_bytes;
                refused(format!("{bytes} is not between {MIN_LINK_MTU_BYTES} and the links' {most} bytes"))
            }
            Fault::Loss { percent, .. } if !(0.0..=100.0).contains(percent) => {
                refused(format!("{percent} is no percentage"))
            }
            _ => Ok(()),
        }
    }

    /// Takes one fault's effect away, after it left the state.
    fn undo(&self, state: &LabState, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Link { node } => self.set_port(state, node, "up"),
            Fault::Mtu { node, .. } => self.set_port(state, node, &format!("mtu {}", state.spec.link_mtu_bytes)),
            Fault::Freeze { processes, .. } => processes.iter().try_for_each(|process| {
                process.signal(Signal::CONT).on_system("wake", &format!("process {}", process.pid))
            }),
            Fault::Partition { .. } | Fault::Loss { .. } => self.enforce(state),
            Fault::Power { .. } => Ok(()),
        }
    }

    /// Puts the wire's faults in force; safe to repeat.
    fn enforce(&self, state: &LabState) -> Result<()> {
        for fault in &state.faults {
            match fault {
                Fault::Link { node } => self.set_port(state, node, "down")?,
                Fault::Mtu { node, bytes } => self.set_port(state, node, &format!("mtu {bytes}"))?,
                _ => {}
            }
        }
        // A node that is off has no port to lose packets on.
        let off = |name: &String| state.faults.contains(&Fault::Power { node: name.clone() });
        let faults: Vec<Fault> = state
            .faults
            .iter()
            .filter(|fault| !matches!(fault, Fault::Loss { node, .. } if off(node)))
            .cloned()
            .collect();
        wire::run_nft(state.init(WIRE)?, &nft_script(&faults, &self.layout))
    }

    fn set_port(&self, state: &LabState, node: &str, setting: &str) -> Result<()> {
        let off = state.faults.iter().any(|fault| matches!(fault, Fault::Power { node: other } if other == node));
        match self.layout.host(node) {
            Some(host) if !off => {
                wire::run_ip_batch(state.init(WIRE)?, WIRE, &format!("link set {} {setting}\n", host.port))
            }
            _ => Ok(()),
        }
    }

    fn power_off(&self, state: &mut LabState, node: &str) -> Result<()> {
        let group = format!("{}/{node}", cgroup::lab_group(self.dir.name()));
        cgroup::kill_all(&group)?;
        let remains = cgroup::remove(&group)?;
        if !remains.is_empty() {
            return Err(LabError::Remains { name: self.dir.name().to_owned(), remains });
        }
        state.inits.remove(node);
        // The kernel removes the link some time after its namespace; a link
        // that is gone already is what is wanted.
        if let (Some(host), Ok(router)) = (self.layout.host(node), state.init(WIRE)) {
            let _ = wire::run_ip_batch(router, WIRE, &format!("link del {}\n", host.port));
        }
        Ok(())
    }

    fn power_on(&self, state: &mut LabState, node: &str) -> Result<()> {
        let host = self.known_node(node)?;
        if state.init(node).is_ok() {
            return Ok(());
        }
        self.power_off(state, node)?;
        let init = create::start_init(&self.dir, &self.layout, node)?;
        state.inits.insert(node.to_owned(), init);
        create::plug_in(state, &self.layout, host.layout())?;
        self.enforce(state)
    }

    /// A node whose init process died is off, whoever did it.
    fn note_dead_nodes(&self, state: &mut LabState) {
        for node in self.nodes.iter().map(super::Node::name) {
            let fault = Fault::Power { node: node.to_owned() };
            if state.init(node).is_err() && !state.faults.contains(&fault) {
                state.faults.push(fault);
            }
        }
    }

    fn signal_program(&self, node: &str, program: &str, signal: Signal) -> Result<Vec<ProcessId>> {
        self.known_node(node)?.init()?;
        let processes = self.running(node, program)?;
        if processes.is_empty() {
            return Err(LabError::NoSuchProgram { node: node.to_owned(), program: program.to_owned() });
        }
        for process in &processes {
            process.signal(signal).on_system("signal", &format!("process {}", process.pid))?;
        }
        Ok(processes)
    }

    /// The processes of a program on a node, by the name that people call it.
    pub(crate) fn running(&self, node: &str, program: &str) -> Result<Vec<ProcessId>> {
        let group = format!("{}/{node}", cgroup::lab_group(self.dir.name()));
        let processes = cgroup::processes(&group)?.into_iter().filter_map(ProcessId::of);
        Ok(processes.filter(|process| is_program(&process.arguments(), program)).collect())
    }

    fn known_node(&self, name: &str) -> Result<&super::Node> {
        let node = self.node(name)?;
        match node.layout().kind {
            HostKind::Node => Ok(node),
            HostKind::Outside => Err(LabError::Fault { what: name.to_owned(), reason: "it is no node".into() }),
        }
    }

    fn known_rack(&self, name: &str) -> Result<()> {
        if self.layout.rack(name).is_some() {
            return Ok(());
        }
        let known: Vec<&str> = self.layout.racks.iter().map(|rack| rack.name.as_str()).collect();
        let reason = format!("there is no rack {name}; the lab has {}", known.join(", "));
        Err(LabError::Fault { what: format!("partition {name}"), reason })
    }

    /// The lock, unless this machine holds it already.
    fn hold(&self) -> Result<Option<LabLock>> {
        if self.lock.is_some() {
            return Ok(None);
        }
        match self.dir.try_lock()? {
            Some(lock) => Ok(Some(lock)),
            None => Err(LabError::NoSuchLab { name: self.dir.name().to_owned() }),
        }
    }

    fn keep(&mut self, state: &LabState) -> Result<()> {
        state.write(&self.dir)?;
        let lock = self.lock.take();
        *self = Self::from_state(&self.dir, state);
        self.lock = lock;
        Ok(())
    }
}
