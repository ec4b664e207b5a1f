//! The daemons: their arguments, configuration and logs, and the runtime they
//! run on. What they do is in `seaway-agent`, `seaway-controller`
//! and `seaway-dns`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use seaway_model::{Diagnose, NodeName};
use seaway_runtime::config::{self, AgentConfig, CONFIG_FILE, ConfigError, ControllerConfig, Log};
use seaway_runtime::{shutdown, telemetry, workers};
use serde::Serialize;

use crate::terminal;

/// `EX_USAGE` of sysexits(3): the configuration cannot be used, so a restart will not help.
const UNUSABLE_CONFIGURATION: u8 = 64;

pub(crate) const AGENT_EXAMPLES: &str = "\
Examples:
  seaway agent                                   as the DaemonSet runs it
  seaway agent --validate --config config.yaml   check a configuration, print it with all defaults
  seaway agent uninstall                         remove everything of Seaway from this host";

pub(crate) const CONTROLLER_EXAMPLES: &str = "\
Examples:
  seaway controller                              as the Deployment runs it
  seaway controller --validate --config config.yaml
  seaway controller uninstall                    let deleted pools go, whoever uses them";

pub(crate) const DNS_EXAMPLES: &str = "\
Examples:
  seaway dns --listen 192.0.2.1                  as the DaemonSet runs it
  seaway dns --validate --config config.yaml";

/// Arguments of `seaway dns`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DnsArguments {
    #[command(flatten)]
    file: ConfigArguments,
    /// Addresses to answer at, unless the configuration names some.
    #[arg(long, value_name = "ADDRESS", env = "SEAWAY_DNS_LISTEN", value_delimiter = ',')]
    listen: Vec<IpAddr>,
    /// End with 0 if the server of this container is ready.
    #[arg(long, conflicts_with_all = ["validate"])]
    probe: bool,
    /// Keep the sockets of the server beside this one, and answer while it is dead.
    #[arg(long, conflicts_with_all = ["validate", "probe", "listen"])]
    standby: bool,
    /// Answer with the sockets of the holder at this path; `seaway dns` starts itself so.
    #[arg(long, value_name = "PATH", hide = true)]
    worker: Option<PathBuf>,
    /// Looks at the server of this node instead of being one.
    #[command(subcommand)]
    pub(crate) verb: Option<seaway_cli::DnsVerb>,
}

/// Arguments of `seaway agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentArguments {
    #[command(flatten)]
    file: ConfigArguments,
    /// Name of this node's Node object; the host name unless given.
    #[arg(long, value_name = "NAME", env = "NODE_NAME", global = true)]
    node_name: Option<String>,
    #[command(subcommand)]
    step: Option<AgentStep>,
}

/// Arguments of `seaway controller`.
#[derive(Debug, Args)]
pub(crate) struct ControllerArguments {
    #[command(flatten)]
    file: ConfigArguments,
    /// Name under which this replica holds its lease; the host name unless given.
    #[arg(long, value_name = "NAME", env = "POD_NAME", global = true)]
    identity: Option<String>,
    #[command(subcommand)]
    step: Option<ControllerStep>,
}

#[derive(Debug, Subcommand)]
enum ControllerStep {
    /// Let go of all address pools, so that deleting them waits for nobody.
    Uninstall,
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// The configuration file.
    #[arg(long, value_name = "PATH", default_value = CONFIG_FILE, global = true)]
    config: PathBuf,
    /// Check the configuration, print it with all defaults, and end.
    #[arg(long)]
    validate: bool,
}

#[derive(Debug, Subcommand)]
enum AgentStep {
    /// Copy the CNI program to where the container runtime looks for it.
    InstallCni,
    /// Remove everything of Seaway from this host, CNI configuration first.
    Uninstall,
    /// Do nothing until told to end: the main container of deploy/uninstall.yaml.
    #[command(hide = true)]
    Stay,
}

/// Runs the agent or one of its steps.
pub(crate) fn agent(arguments: &AgentArguments) -> ExitCode {
    if matches!(arguments.step, Some(AgentStep::Stay)) {
        return on_runtime(&Log::default(), async |stop| {
            stop.cancelled().await;
            Ok::<(), ConfigError>(())
        });
    }
    let config = match agent_config(arguments) {
        Ok(config) => config,
        Err(error) => return unusable(&error),
    };
    if arguments.file.validate {
        return show(&config);
    }
    match arguments.step {
        None => on_runtime(&config.log, async |stop| seaway_agent::run(config.clone(), stop).await),
        Some(AgentStep::InstallCni) => {
            terminal::finish(seaway_agent::install_cni(&config).map(|path| println!("installed {}", path.display())))
        }
        Some(AgentStep::Uninstall) => terminal::finish(seaway_agent::uninstall(&config)),
        Some(AgentStep::Stay) => ExitCode::SUCCESS,
    }
}

/// Runs the controller.
pub(crate) fn controller(arguments: &ControllerArguments) -> ExitCode {
    let config = match controller_config(arguments) {
        Ok(config) => config,
        Err(error) => return unusable(&error),
    };
    if arguments.file.validate {
        return show(&config);
    }
    match arguments.step {
        None => on_runtime(&config.log, async |stop| seaway_controller::run(config.clone(), stop).await),
        Some(ControllerStep::Uninstall) => on_runtime(&config.log, async |_stop| {
            let pools = seaway_controller::give_pools_up(&config).await?;
            println!("pools let go: {pools}");
            Ok::<(), seaway_controller::ControllerError>(())
        }),
    }
}

/// Runs the DNS server.
pub(crate) fn dns(arguments: &DnsArguments) -> ExitCode {
    if arguments.probe {
        return if seaway_dns::daemon::probe() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let config = match config::load(&arguments.file.config).and_then(config::RawConfig::dns) {
        Ok(config) => config,
        Err(error) => return unusable(&error),
    };
    if arguments.file.validate {
        return show(&config);
    }
    if let Some(path) = &arguments.worker {
        return on_runtime(&config.log, async |stop| seaway_dns::daemon::work(config.clone(), path, stop).await);
    }
    let listen = arguments.listen.clone();
    let worker = |path: &Path| {
        // The running program itself, also when its file was replaced meanwhile.
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.arg("dns").arg("--config").arg(&arguments.file.config).arg("--worker").arg(path);
        command.kill_on_drop(true);
        command
    };
    if arguments.standby {
        return on_runtime(&config.log, async |stop| seaway_dns::standby::stand_by(&config, worker, &stop).await);
    }
    on_runtime(&config.log, async |stop| seaway_dns::daemon::hold(config.clone(), listen, worker, stop).await)
}

fn agent_config(arguments: &AgentArguments) -> Result<AgentConfig, ConfigError> {
    let node = arguments.node_name.clone().unwrap_or_else(host_name);
    config::load(&arguments.file.config)?.agent(NodeName::from(node))
}

fn controller_config(arguments: &ControllerArguments) -> Result<ControllerConfig, ConfigError> {
    let identity = arguments.identity.clone().unwrap_or_else(host_name);
    config::load(&arguments.file.config)?.controller(identity)
}

/// What the kubelet uses as the node's name too, unless it is told otherwise.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

fn on_runtime<E: Diagnose>(
    log: &Log,
    work: impl AsyncFnOnce(shutdown::CancellationToken) -> Result<(), E>,
) -> ExitCode {
    if let Err(error) = telemetry::init(log) {
        return unusable(&error);
    }
    let workers = match workers::start() {
        Ok(workers) => workers,
        Err(error) => return terminal::report(&error),
    };
    workers.block_on(async {
        match shutdown::token() {
            Ok(stop) => terminal::finish(work(stop).await),
            Err(error) => terminal::report(&error),
        }
    })
}

fn unusable(error: &dyn Diagnose) -> ExitCode {
    terminal::report(error);
    ExitCode::from(UNUSABLE_CONFIGURATION)
}

fn show(config: &impl Serialize) -> ExitCode {
    match serde_json::to_string_pretty(config) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}
