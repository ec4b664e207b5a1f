//! The holder of the sockets is killed with all processes of its container, under load: the
//! second container answers, and hands the sockets to the next holder. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seaway_dns::handover::{public, take_watched};
use seaway_dns::{daemon, standby};
use seaway_runtime::config::{DnsConfig, RawConfig};
use seaway_runtime::shutdown::CancellationToken;

/// As long as resolvers of clients wait before they ask again (`resolv.conf(5)`).
const PATIENCE: Duration = Duration::from_secs(5);

/// `localhost. A`, which is answered without an agent.
const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

const ROLE: &str = "SEAWAY_TEST_ROLE";
const RUN: &str = "SEAWAY_TEST_RUN";
const PORT: &str = "SEAWAY_TEST_PORT";
const HOLDER: &str = "SEAWAY_TEST_HOLDER";

fn config() -> DnsConfig {
    let mut config = RawConfig::default().dns().unwrap();
    config.run = std::env::var(RUN).unwrap().into();
    config.plain.port = std::env::var(PORT).unwrap().parse().unwrap();
    config.plain.admin = ([127, 0, 0, 1], 0).into();
    config.plain.threads = 1;
    config
}

/// This very program in one of its roles.
fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_of_the_other_test", "--nocapture"]).env(ROLE, name);
    command
}

fn worker(path: &Path) -> tokio::process::Command {
    let mut command = role("worker");
    command.env(HOLDER, path);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_the_other_test() {
    let stop = CancellationToken::new();
    match std::env::var(ROLE).as_deref() {
        Ok("holder") => daemon::hold(config(), vec![[127, 0, 0, 1].into()], worker, stop).await.unwrap(),
        Ok("standby") => standby::stand_by(&config(), worker, &stop).await.unwrap(),
        Ok("worker") => {
            let holder = PathBuf::from(std::env::var(HOLDER).unwrap());
            daemon::work(config(), &holder, stop).await.unwrap();
        }
        // Run as a test: there is nothing to do.
        _ => {}
    }
}

/// A container: its first process ends, and all others with it.
struct Container(Child);

impl Container {
    fn start(name: &str, run: &Path, port: u16) -> Self {
        let inner = role(name);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=SIGKILL"]).arg(inner.get_program()).args(inner.get_args());
        command.env(ROLE, name).env(RUN, run).env(PORT, port.to_string());
        Self(command.spawn().unwrap())
    }

    /// `kill -9` of its first process.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until told to stop; answers sent, lost, and the longest wait for one answer.
fn ask(at: SocketAddr, enough: &AtomicBool) -> (u32, u32, Duration) {
    let (mut sent, mut lost, mut longest) = (0, 0, Duration::ZERO);
    while !enough.load(Ordering::Relaxed) {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(at).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..20 {
            let begun = Instant::now();
            let answered = client.send(QUERY).is_ok() && client.recv(&mut [0; 512]).is_ok();
            sent += 1;
            lost += u32::from(!answered);
            longest = longest.max(begun.elapsed());
        }
    }
    (sent, lost, longest)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::yield_now();
    }
}

fn answers(at: SocketAddr) -> bool {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    client.send_to(QUERY, at).is_ok() && client.recv(&mut [0; 512]).is_ok()
}

#[test]
fn a_killed_holder_and_worker_cost_a_client_no_more_than_the_query_in_their_hands() {
    let run = tempfile::tempdir().unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let mut holder = Container::start("holder", run.path(), port);
    until("the server does not answer", || answers(at));
    let _standby = Container::start("standby", run.path(), port);
    let link = || std::fs::read_link(public(run.path())).ok();
    // The holder, its worker, and the one that stands by.
    until("the standby does not run", || owners(port) == 3);
    let first = link();
    let enough = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let enough = Arc::clone(&enough);
            std::thread::spawn(move || ask(at, &enough))
        })
        .collect();
    holder.kill();
    until("the standby does not offer the sockets", || link().is_some() && link() != first);
    assert!(take_watched(&public(run.path())).is_ok());
    let second = link();
    let _next = Container::start("holder", run.path(), port);
    until("the next holder does not take the sockets over", || link().is_some() && link() != second);
    until("the next holder has no worker", || owners(port) == 4);
    until("the standby does not end its worker", || owners(port) == 3);
    enough.store(true, Ordering::Relaxed);
    let results: Vec<_> = load.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("sent, lost, longest wait: {results:?}");
    assert!(results.iter().map(|(sent, ..)| sent).sum::<u32>() > 100, "{results:?}");
    // What the killed worker had read and not answered is gone with it: of each client, one at most.
    assert!(results.iter().all(|(_, lost, _)| *lost <= 1), "{results:?}");
}

/// How many processes have the sockets.
fn owners(port: u16) -> usize {
    let wanted = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let inodes: Vec<String> = table
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(&wanted))
        .filter_map(|line| line.split_whitespace().nth(9).map(|inode| format!("socket:[{inode}]")))
        .collect();
    let has = |process: &Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.into_iter().any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbered = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    numbered.filter(|entry| has(&entry.path())).count()
}
