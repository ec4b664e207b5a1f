//! Network namespaces for tests, each held by a thread that runs what it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, with a mount namespace in which `/sys` is its own and
/// `/sys/fs/bpf` is an empty BPF file system. Gone when dropped.
pub(in crate::kernel) struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

// === impl Namespace ===

impl Namespace {
    pub(in crate::kernel) fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            enter_new_namespace();
            ready.send(nix::unistd::gettid()).unwrap();
            for job in inbox {
                job();
            }
        });
        let thread_id = is_ready.recv().expect("making a namespace needs root");
        let path = PathBuf::from(format!("/proc/{}/task/{thread_id}/ns/net", std::process::id()));
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), path };
        // Addresses are ready at once: nobody else is there to have the same.
        namespace.run(|| fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs a closure inside and waits for it; its panic becomes the caller's.
    pub(in crate::kernel) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(job).join()
    }

    /// Starts a closure on a thread of its own inside.
    pub(in crate::kernel) fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let (sender, thread) = channel();
        // The thread is spawned from inside, so it inherits the namespaces.
        let spawn = move || sender.send(std::thread::spawn(job)).unwrap();
        self.jobs.as_ref().unwrap().send(Box::new(spawn)).unwrap();
        Running(thread.recv().unwrap())
    }

    /// Runs a program inside and returns what it printed; fails when it fails.
    pub(in crate::kernel) fn exec(&self, command: &str) -> String {
        let (ok, output) = self.try_exec(command);
        assert!(ok, "{command}: {output}");
        output
    }

    /// Runs a program inside: whether it succeeded, and what it printed.
    pub(in crate::kernel) fn try_exec(&self, command: &str) -> (bool, String) {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        self.run(move || {
            let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        })
    }

    /// Runs `ip` inside.
    pub(in crate::kernel) fn ip(&self, arguments: &str) {
        self.exec(&format!("ip {arguments}"));
    }

    /// Where other programs find the network namespace.
    pub(in crate::kernel) fn path(&self) -> &Path {
        &self.path
    }

    /// Index of an interface.
    pub(in crate::kernel) fn index(&self, interface: &str) -> u32 {
        self.sys_net(interface, "ifindex").parse().unwrap()
    }

    /// MAC of an interface.
    pub(in crate::kernel) fn mac(&self, interface: &str) -> [u8; 6] {
        let text = self.sys_net(interface, "address");
        text.parse::<seaway_model::MacAddress>().unwrap().0
    }

    fn sys_net(&self, interface: &str, file: &str) -> String {
        let path = format!("/sys/class/net/{interface}/{file}");
        self.run(move || fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).trim().to_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A closure that runs in a namespace.
pub(in crate::kernel) struct Running<T>(JoinHandle<T>);

// === impl Running ===

impl<T> Running<T> {
    /// Waits for the end; a panic inside becomes the caller's.
    pub(in crate::kernel) fn join(self) -> T {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn enter_new_namespace() {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("making a namespace needs root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).unwrap();
}
