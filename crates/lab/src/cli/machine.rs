//! Verbs that need only the machine layer: exec, pcap, logs, break, heal.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;

use super::image;
use crate::error::{IoContext, LabError, Result};
use crate::machine::{Breakage, LabDir, Machine};

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// Where programs of a node are looked for before one is run.
const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// `lab exec`.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// A node, or `outside`, or `wire`.
    node: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    argv: Vec<OsString>,
}

/// `lab pcap`.
#[derive(Debug, Args)]
pub(super) struct PcapArgs {
    /// A node, or `outside`, or `wire`.
    node: String,
    /// The interface, or `any`.
    interface: String,
    /// Write packets to this file, `-` for standard output, instead of printing them.
    #[arg(short, long)]
    write: Option<PathBuf>,
    /// A filter as tcpdump knows it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<OsString>,
}

/// `lab logs`.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The node.
    node: String,
    /// The program; all there are without it.
    program: Option<String>,
    /// Go on printing what is added.
    #[arg(short, long)]
    follow: bool,
}

/// `lab heal`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct HealArgs {
    /// What to heal, by its first words: `link n1`, `partition r1`, `mtu n1`,
    /// `loss n1`, `freeze n1 kubelet`, `power n1`.
    what: Vec<String>,
    /// Heal everything.
    #[arg(long, conflicts_with = "what")]
    all: bool,
}

// === impl ExecArgs ===

impl ExecArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<u8> {
        become_command(Machine::open(dir)?.inside(&self.node)?.command(&self.argv)?, &self.node)
    }
}

// === impl PcapArgs ===

impl PcapArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<u8> {
        if !PROGRAM_DIRECTORIES.iter().any(|directory| Path::new(directory).join("tcpdump").is_file()) {
            return Err(LabError::ProgramMissing { program: "tcpdump".into(), package: "tcpdump".into() });
        }
        // Names are not looked up: a node has no name server by itself.
        let mut argv: Vec<OsString> = ["tcpdump", "-n", "-i"].map(OsString::from).into();
        argv.push(self.interface.clone().into());
        argv.extend(if self.write.is_some() {
            ["-U", "-w", "-"].map(OsString::from).to_vec()
        } else {
            vec!["-l".into()]
        });
        argv.extend(self.filter.iter().cloned());
        let mut command = Machine::open(dir)?.inside(&self.node)?.command(&argv)?;
        if let Some(path) = self.write.as_ref().filter(|path| path.as_os_str() != "-") {
            command.stdout(File::create(path).on_file("create", path)?);
        }
        become_command(command, &self.node)
    }
}

// === impl LogsArgs ===

impl LogsArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<()> {
        let machine = Machine::open(dir)?;
        let node = machine.inside(&self.node)?;
        let directory = dir.logs(node.name());
        let Some(program) = &self.program else {
            let entries = std::fs::read_dir(&directory).on_file("list", &directory)?;
            let mut names: Vec<String> = entries
                .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
                .collect();
            names.sort();
            return print(format!("{}\n", names.join("\n")).as_bytes());
        };
        let path = node.log_file(program);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LabError::NoSuchProgram { node: self.node.clone(), program: program.clone() });
            }
            other => other.on_file("open", &path)?,
        };
        loop {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).on_file("read", &path)?;
            print(&bytes)?;
            if !self.follow {
                return Ok(());
            }
            std::thread::sleep(FOLLOW_INTERVAL);
            // A log that was cut is read from its start.
            let length = file.metadata().on_file("look at", &path)?.len();
            if file.stream_position().on_file("look at", &path)? > length {
                file.seek(SeekFrom::Start(0)).on_file("read", &path)?;
            }
        }
    }
}

// === impl HealArgs ===

impl HealArgs {
    pub(super) fn run(&self, dir: &LabDir) -> Result<()> {
        let healed = Machine::open(dir)?.heal(&self.what)?;
        for fault in &healed {
            println!("healed {fault}");
        }
        if healed.is_empty() {
            println!("nothing is broken");
        }
        image::catch_up(dir)
    }
}

/// `lab break`.
pub(super) fn break_down(dir: &LabDir, what: &Breakage) -> Result<()> {
    let done = Machine::open(dir)?.break_down(what)?;
    println!("{done}");
    if matches!(what, Breakage::PowerCycle { .. }) {
        image::catch_up(dir)?;
    }
    if matches!(what, Breakage::Lasting(_)) {
        println!("`seaway lab heal --all --name {}` undoes it", dir.name());
    }
    Ok(())
}

/// This process becomes the command, so signals and exit code are its own.
fn become_command(mut command: Command, node: &str) -> Result<u8> {
    let error = command.exec();
    Err(error).on_system("run a command", node)
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut output = std::io::stdout();
    output.write_all(bytes).and_then(|()| output.flush()).on_system("print", "the log")
}
