//! Makes a machine: validate, clean what an abandoned lab left, start the init
//! processes side by side, plug them together; undo all of it on failure.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::dir::{LabDir, cache_dir};
use super::init::{InitConfig, Report};
use super::layout::{HostKind, HostLayout, Layout, WIRE};
use super::node::DISK_DIRECTORIES;
use super::process::ProcessId;
use super::state::LabState;
use super::{Machine, cgroup, destroy, own_program, wire};
use crate::error::{IoContext, LabError, Result};
use crate::patience::patience;
use crate::spec::LabSpec;

/// Time an init process has to make its namespaces and file system.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Search path of programs in a node.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Machine {
    /// Makes the nodes and the wire of `spec`. The lab stays locked until the
    /// returned machine is dropped, and counts as abandoned until
    /// [`Machine::set_complete`].
    pub fn create(spec: &LabSpec, dir: &LabDir) -> Result<Self> {
        require_root()?;
        spec.validate()?;
        let lock = dir.create_and_lock()?;
        match LabState::read(dir) {
            Ok(state) if state.complete && state.any_alive() => {
                return Err(LabError::AlreadyUp { name: dir.name().to_owned() });
            }
            _ => destroy::clear(dir)?,
        }
        let mut state = LabState::new(spec.clone());
        let made = build(&mut state, dir);
        if let Err(error) = made {
            // The first error is the one to tell; `down` tells what is left.
            let _ = destroy::clear(dir).and_then(|()| dir.remove());
            return Err(error);
        }
        let mut machine = Self::from_state(dir, &state);
        machine.lock = Some(Arc::new(lock));
        Ok(machine)
    }

    /// Records that the lab is wholly made, so that a later `up` leaves it be.
    pub fn set_complete(&self) -> Result<()> {
        let mut state = LabState::read(&self.dir)?;
        state.complete = true;
        state.write(&self.dir)
    }
}

/// Refuses users who may not make namespaces and mounts.
pub(crate) fn require_root() -> Result<()> {
    let user_id = nix::unistd::geteuid().as_raw();
    if user_id == 0 { Ok(()) } else { Err(LabError::NotRoot { user_id }) }
}

fn build(state: &mut LabState, dir: &LabDir) -> Result<()> {
    state.write(dir)?;
    let layout = Layout::of(&state.spec);
    dir.note_controllers(&cgroup::create_lab(dir.name())?)?;
    fs::create_dir_all(dir.shared()).on_file("create", &dir.shared())?;
    let names: Vec<&str> = std::iter::once(WIRE).chain(layout.hosts().map(|host| host.name.as_str())).collect();
    let started: Vec<Result<(String, ProcessId)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|&name| {
                let layout = &layout;
                scope.spawn(move || Ok((name.to_owned(), start_init(dir, layout, name)?)))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for result in started {
        let (name, init) = result?;
        state.inits.insert(name, init);
    }
    state.write(dir)?;
    plug_in_all(state, &layout)
}

fn plug_in_all(state: &LabState, layout: &Layout) -> Result<()> {
    let mtu_bytes = state.spec.link_mtu_bytes;
    let mut batch = wire::router_batch(layout, mtu_bytes);
    for host in layout.hosts() {
        batch.push_str(&wire::port_batch(layout, host, state.init(&host.name)?, mtu_bytes));
    }
    wire::run_ip_batch(state.init(WIRE)?, WIRE, &batch)?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = layout.hosts().map(|host| scope.spawn(move || configure_host(state, host))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Plugs one host in again, after a power cycle.
pub(super) fn plug_in(state: &LabState, layout: &Layout, host: &HostLayout) -> Result<()> {
    let batch = wire::port_batch(layout, host, state.init(&host.name)?, state.spec.link_mtu_bytes);
    wire::run_ip_batch(state.init(WIRE)?, WIRE, &batch)?;
    configure_host(state, host)
}

fn configure_host(state: &LabState, host: &HostLayout) -> Result<()> {
    wire::run_ip_batch(state.init(&host.name)?, &host.name, &wire::host_batch(host))
}

/// Starts the init process of a namespace set and waits until it is ready.
pub(super) fn start_init(dir: &LabDir, layout: &Layout, name: &str) -> Result<ProcessId> {
    let config = prepare(dir, layout, name)?;
    let config_file = dir.host(name).join("init.json");
    let text = serde_json::to_vec_pretty(&config)
        .map_err(|error| LabError::State { path: config_file.clone(), reason: error.to_string() })?;
    fs::write(&config_file, text).on_file("write", &config_file)?;
    cgroup::create_node(dir.name(), name)?;
    let log_file = dir.logs(name).join("init.log");
    let log = File::options().create(true).append(true).open(&log_file).on_file("open", &log_file)?;
    let mut child = Command::new(&config.program)
        .args(["lab", "node-init", "--config"])
        .arg(&config_file)
        .env_clear()
        .envs([("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .on_system("start the init process", name)?;
    let reports = child.stdout.take().map(BufReader::new);
    let result = reports.map_or(Ok(None), |reports| await_ready(reports, name));
    // The first stage has done its work, or failed.
    if !matches!(result, Ok(Some(_))) {
        let _ = child.kill();
    }
    child.wait().on_system("wait for the init process", name)?;
    result?.ok_or_else(|| {
        let log = fs::read_to_string(&log_file).unwrap_or_default();
        let reason = format!("its init process ended early: {}", log.trim());
        LabError::NodeStart { node: name.to_owned(), reason }
    })
}

/// Makes the directories of a namespace set and says what its init is to do.
fn prepare(dir: &LabDir, layout: &Layout, name: &str) -> Result<InitConfig> {
    let host = layout.host(name);
    let mount_point = dir.host(name).join("root");
    for directory in [&mount_point, &dir.control(name), &dir.logs(name)] {
        fs::create_dir_all(directory).on_file("create", directory)?;
    }
    let mut binds: Vec<(PathBuf, PathBuf)> =
        vec![("/var/log/seaway-lab".into(), dir.logs(name)), (dir.shared(), dir.shared())];
    if host.is_some_and(|host| host.kind == HostKind::Node) {
        for inside in DISK_DIRECTORIES {
            let directory = dir.disk(name).join(inside.trim_start_matches('/'));
            fs::create_dir_all(&directory).on_file("create", &directory)?;
            binds.push((inside.into(), directory));
        }
    }
    let program = own_program()?;
    let program_directory = program.parent().map(PathBuf::from);
    Ok(InitConfig {
        lab: dir.name().to_owned(),
        name: name.to_owned(),
        forwards: host.is_none_or(|host| host.kind == HostKind::Node),
        mount_point,
        binds,
        visible: std::iter::once(cache_dir()).chain(program_directory).collect(),
        control: dir.control(name),
        program,
        hosts_file: hosts_file(layout),
        hierarchies: cgroup::hierarchies()?,
    })
}

fn hosts_file(layout: &Layout) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for host in layout.hosts() {
        for address in &host.addresses {
            text.push_str(&format!("{} {}\n", address.addr(), host.name));
        }
    }
    text
}

fn await_ready(mut reports: BufReader<ChildStdout>, name: &str) -> Result<Option<ProcessId>> {
    let give_up = Instant::now() + patience(START_TIMEOUT);
    let (mut started, mut ready) = (None, false);
    loop {
        // The second stage may be ready before the first has told its pid.
        if ready && started.is_some() {
            return Ok(started);
        }
        if reports.buffer().is_empty() {
            let left =
                PollTimeout::try_from(give_up.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
            let mut sources = [PollFd::new(reports.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut sources, left).on_system("wait for the init process", name)? == 0 {
                let reason = format!("its init process was not ready within {} s", patience(START_TIMEOUT).as_secs());
                return Err(LabError::NodeStart { node: name.to_owned(), reason });
            }
        }
        let mut line = String::new();
        if reports.read_line(&mut line).on_system("hear from the init process", name)? == 0 {
            return Ok(None);
        }
        match serde_json::from_str(&line) {
            Ok(Report::Started { pid }) => started = ProcessId::of(pid),
            Ok(Report::Ready) => ready = true,
            Ok(Report::Failed(reason)) => return Err(LabError::NodeStart { node: name.to_owned(), reason }),
            Err(error) => {
                let reason = format!("its init process said {line:?}: {error}");
                return Err(LabError::NodeStart { node: name.to_owned(), reason });
            }
        }
    }
}
