//! A node and its sandboxes, each a network namespace of its own. Nothing of the
//! machine is touched: mounts are private, interfaces live in the namespaces.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const NO_ROOT: &str = "this test makes namespaces: run it as root";
/// Longer than any of these connections takes, and short enough to fail before people lose patience.
const PATIENCE: Duration = Duration::from_secs(10);

type Errand = Box<dyn FnOnce() + Send>;

/// A network namespace held by a thread, which runs errands in it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) path: String,
    errands: mpsc::Sender<Errand>,
}

/// Runs `work` on a thread of its own in new network and mount namespaces that
/// look like a node: an underlay with the address 192.0.2.1, empty `/run` and
/// `/var/lib`, a BPF file system on `/run/bpf`.
pub(crate) fn on_a_node<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect(NO_ROOT);
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            for place in ["/run", "/var/lib"] {
                mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
            }
            std::fs::create_dir("/run/bpf").unwrap();
            mount(Some("bpf"), "/run/bpf", Some("bpf"), MsFlags::empty(), none).unwrap();
            for command in [
                "ip link set lo up",
                "ip link add under0 type veth peer name under1",
                "ip address add 192.0.2.1/24 dev under0",
                "ip address add 2001:db8::1/64 dev under0 nodad",
                "ip link set under0 up",
                "ip link set under1 up",
            ] {
                shell(command);
            }
            work()
        });
        node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a command in the calling thread's namespaces; its output when it succeeds.
pub(crate) fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Sandbox {
    /// Makes one.
    pub(crate) fn new() -> Sandbox {
        let (errands, inbox) = mpsc::channel::<Errand>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect(NO_ROOT);
            tell.send(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid())).unwrap();
            for errand in inbox {
                errand();
            }
        });
        Sandbox { path: told.recv().expect(NO_ROOT), errands }
    }

    /// Does something inside.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.errands.send(Box::new(move || drop(tell.send(work())))).unwrap();
        told.recv().expect("the errand failed")
    }

    /// Starts a server that answers each connection with the client's address.
    pub(crate) fn serve(&self, port: u16) {
        let listener = self.inside(move || TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                // The client may not wait for the answer.
                let _ = stream.write_all(peer.to_string().as_bytes());
            }
        });
    }

    /// Connects from inside; what the server says.
    pub(crate) fn call(&self, address: IpAddr, port: u16) -> std::io::Result<String> {
        self.inside(move || call(address, port))
    }
}

/// Connects from the calling thread's namespace; what the server says.
pub(crate) fn call(address: IpAddr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
