//! Stand-ins for the two ends of the plugin: an agent that gives one answer,
//! and a sandbox that is a network namespace held by a thread.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::Value;

/// What the plugin asked.
#[derive(Debug)]
pub(crate) struct Question {
    /// The JSON text.
    pub(crate) text: String,
    /// Name of the namespace that came with it (`net:[…]`).
    pub(crate) namespace: Option<String>,
}

/// An agent that answers every question with the same words.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: std::path::PathBuf,
    thread: JoinHandle<Vec<Question>>,
}

/// A network namespace of its own.
#[derive(Debug)]
pub(crate) struct Sandbox {
    path: String,
    inode: String,
    _end: mpsc::Sender<()>,
}

/// First byte of the connection that ends the agent.
const END: u8 = b'.';

impl Agent {
    /// Listens; `answer` null closes each connection without a word.
    pub(crate) fn start(socket: &Path, answer: Value) -> Agent {
        let listener = UnixListener::bind(socket).unwrap();
        let thread = std::thread::spawn(move || {
            let mut questions = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let question = receive(&mut stream);
                if question.text.as_bytes() == [END] {
                    return questions;
                }
                questions.push(question);
                match &answer {
                    Value::Null => {}
                    // A string is sent as it is: an answer that is no JSON.
                    Value::String(text) => stream.write_all(text.as_bytes()).unwrap(),
                    answer => writeln!(stream, "{answer}").unwrap(),
                }
            }
        });
        Agent { socket: socket.to_owned(), thread }
    }

    /// Ends it and tells what it was asked.
    pub(crate) fn stop(self) -> Vec<Question> {
        UnixStream::connect(&self.socket).unwrap().write_all(&[END]).unwrap();
        self.thread.join().unwrap()
    }
}

impl Sandbox {
    /// Makes one.
    pub(crate) fn new() -> Sandbox {
        let (end, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("this test makes a network namespace: run it as root");
            let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
            let inode = std::fs::read_link(&path).unwrap().to_string_lossy().into_owned();
            tell.send((path, inode)).unwrap();
            // Ends when the sandbox is dropped.
            let _ = wait.recv();
        });
        let (path, inode) = told.recv().expect("this test makes a network namespace: run it as root");
        Sandbox { path, inode, _end: end }
    }

    /// Path for `CNI_NETNS`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its name, `net:[…]`.
    pub(crate) fn name(&self) -> &str {
        &self.inode
    }
}

fn receive(stream: &mut UnixStream) -> Question {
    let mut buffer = vec![0u8; 1 << 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(&*stream, &mut parts, &mut control, flags).unwrap();
    let mut namespace = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                assert!(namespace.is_none(), "one descriptor is enough");
                let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
                namespace = Some(std::fs::read_link(link).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    buffer.truncate(received.bytes);
    if buffer != [END] {
        stream.read_to_end(&mut buffer).unwrap();
    }
    Question { text: String::from_utf8(buffer).unwrap(), namespace }
}
