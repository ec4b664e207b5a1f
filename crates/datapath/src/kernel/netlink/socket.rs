//! A netlink socket: batches of requests, dumps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockopt, recv, send, setsockopt,
    socket, sockopt,
};

use super::attribute::Attributes;
use super::message::{HEADER_BYTES, Request, constants};
use crate::DatapathError;

/// Requests sent at once. Each acknowledgement takes up to 1 KiB of the receive buffer,
/// whose default is 208 KiB.
const BATCH_REQUESTS: usize = 100;
/// Largest datagram the kernel builds for a dump (`NLMSG_GOODSIZE` grows with what the
/// reader offers, up to 32 KiB; pages of 64 KiB double it).
const RECEIVE_BYTES: usize = 128 * 1024;
/// Attempts to read a table that others are changing.
const DUMP_ATTEMPTS: usize = 8;

/// An answer: message type and what follows the header.
pub(crate) type Reply = (u16, Vec<u8>);

/// A netlink socket. It stays in the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

enum Answer {
    Reply(Reply),
    Acknowledged,
    Refused(io::Error, Option<String>),
    Done { interrupted: bool },
}

// === impl Netlink ===

impl Netlink {
    /// Opens a socket to rtnetlink in the calling thread's namespace.
    pub(crate) fn route() -> Result<Self, DatapathError> {
        Self::open(SockProtocol::NetlinkRoute, SockFlag::SOCK_CLOEXEC)
    }

    /// Opens a socket to netfilter that does not wait for messages.
    pub(crate) fn netfilter_listener() -> Result<Self, DatapathError> {
        Self::open(SockProtocol::NetlinkNetFilter, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
    }

    /// Opens a socket that tells of sockets in the calling thread's namespace.
    pub(crate) fn sockets() -> Result<Self, DatapathError> {
        Self::open(SockProtocol::NetlinkSockDiag, SockFlag::SOCK_CLOEXEC)
    }

    /// Opens a socket to netfilter (nf_tables, connection tracking) for requests and batches.
    pub(crate) fn netfilter() -> Result<Self, DatapathError> {
        Self::open(SockProtocol::NetlinkNetFilter, SockFlag::SOCK_CLOEXEC)
    }

    /// Lets batches be as large as `wanted_bytes`, and says how large they may be.
    pub(crate) fn allow_batches(&self, wanted_bytes: usize) -> usize {
        // Needs CAP_NET_ADMIN in the first user namespace; without it the default has to do.
        let _ = setsockopt(&self.fd, sockopt::SndBufForce, &wanted_bytes);
        // The kernel doubles what is asked for and counts its own records as well.
        getsockopt(&self.fd, sockopt::SndBuf).map_or(64 * 1024, |bytes| bytes / 2)
    }

    /// Sends a batch as one datagram and returns the refusals: index of the message by its
    /// sequence number, and the kernel's answer. The kernel answers before `send` returns.
    pub(crate) fn transact(&mut self, batch: &[u8]) -> io::Result<Vec<(u32, io::Error)>> {
        send(self.fd.as_raw_fd(), batch, MsgFlags::empty())?;
        let mut refusals = Vec::new();
        loop {
            match self.receive_with(MsgFlags::MSG_DONTWAIT) {
                Ok(answers) => refusals.extend(answers.into_iter().filter_map(|(sequence, answer)| match answer {
                    Answer::Refused(source, None) => Some((sequence, source)),
                    Answer::Refused(source, Some(hint)) => {
                        tracing::debug!(%hint, "the kernel explains a refusal");
                        Some((sequence, source))
                    }
                    Answer::Reply(_) | Answer::Acknowledged | Answer::Done { .. } => None,
                })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(refusals),
                Err(error) => return Err(error),
            }
        }
    }

    fn open(protocol: SockProtocol, flags: SockFlag) -> Result<Self, DatapathError> {
        let refused = |source: nix::Error| DatapathError::Kernel {
            operation: "open",
            object: "a netlink socket".to_owned(),
            source: source.into(),
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(refused)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(refused)?;
        // Needs CAP_NET_ADMIN in the first user namespace; without it the default has to do.
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &(2 * 1024 * 1024));
        enable(fd.as_fd(), libc::NETLINK_EXT_ACK);
        enable(fd.as_fd(), libc::NETLINK_CAP_ACK);
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Lets the kernel look at what a dump asks for, instead of answering with everything. Older
    /// kernels do not know how.
    pub(crate) fn strict(self) -> Self {
        enable(self.fd.as_fd(), libc::NETLINK_GET_STRICT_CHK);
        self
    }

    /// Sends requests, many at once, and returns the outcome of each in order. The kernel
    /// carries out every one, whatever became of those before.
    pub(crate) fn send_all(&mut self, requests: Vec<Request>) -> Vec<Result<Vec<Reply>, DatapathError>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let batch: Vec<Request> = requests.by_ref().take(BATCH_REQUESTS).collect();
            outcomes.extend(self.send_batch(batch));
        }
        outcomes
    }

    /// Sends requests and returns their replies, or the first refusal.
    pub(crate) fn run(&mut self, requests: Vec<Request>) -> Result<Vec<Vec<Reply>>, DatapathError> {
        self.send_all(requests).into_iter().collect()
    }

    fn send_batch(&mut self, mut batch: Vec<Request>) -> Vec<Result<Vec<Reply>, DatapathError>> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in &mut batch {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish(self.sequence, constants::NLM_F_ACK);
            bytes.extend_from_slice(&request.bytes);
        }
        let mut outcomes: Vec<Option<Result<Vec<Reply>, DatapathError>>> = batch.iter().map(|_| None).collect();
        let mut replies: Vec<Vec<Reply>> = batch.iter().map(|_| Vec::new()).collect();
        let mut failure = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).err().map(io::Error::from);
        while failure.is_none() && outcomes.iter().any(Option::is_none) {
            let answers = match self.receive() {
                Ok(answers) => answers,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            for (sequence, answer) in answers {
                let index = sequence.wrapping_sub(first) as usize;
                let (Some(request), Some(outcome)) = (batch.get(index), outcomes.get_mut(index)) else { continue };
                match answer {
                    Answer::Reply(reply) => {
                        replies.get_mut(index).into_iter().for_each(|list| list.push(reply.clone()))
                    }
                    Answer::Acknowledged => {
                        *outcome = Some(Ok(replies.get_mut(index).map(std::mem::take).unwrap_or_default()))
                    }
                    Answer::Refused(source, hint) => *outcome = Some(Err(refusal(request, source, hint))),
                    Answer::Done { .. } => {}
                }
            }
        }
        let lost = |request: &Request| {
            let source = match &failure {
                Some(error) => io::Error::new(error.kind(), error.to_string()),
                None => io::Error::from(io::ErrorKind::UnexpectedEof),
            };
            refusal(request, source, None)
        };
        batch.iter().zip(outcomes).map(|(request, outcome)| outcome.unwrap_or_else(|| Err(lost(request)))).collect()
    }

    /// Reads a table: every message that answers `request`. Read again when it changed
    /// meanwhile.
    pub(crate) fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, DatapathError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(replies) = self.dump_once(request.clone())? {
                return Ok(replies);
            }
        }
        Err(DatapathError::Answer {
            request: "a netlink dump",
            problem: format!("{} kept changing while it was read {DUMP_ATTEMPTS} times", request.object),
        })
    }

    fn dump_once(&mut self, mut request: Request) -> Result<Option<Vec<Reply>>, DatapathError> {
        self.sequence = self.sequence.wrapping_add(1);
        request.finish(self.sequence, constants::NLM_F_DUMP);
        send(self.fd.as_raw_fd(), &request.bytes, MsgFlags::empty())
            .map_err(|error| refusal(&request, error.into(), None))?;
        let mut replies = Vec::new();
        loop {
            for (sequence, answer) in self.receive().map_err(|error| refusal(&request, error, None))? {
                if sequence != self.sequence {
                    continue;
                }
                match answer {
                    Answer::Reply(reply) => replies.push(reply),
                    Answer::Refused(source, hint) => return Err(refusal(&request, source, hint)),
                    Answer::Acknowledged => return Ok(Some(replies)),
                    Answer::Done { interrupted } => return Ok((!interrupted).then_some(replies)),
                }
            }
        }
    }

    /// Messages that come without being asked for; empty when there are none now.
    pub(crate) fn pending(&mut self) -> io::Result<Vec<Reply>> {
        match self.receive() {
            Ok(answers) => Ok(answers
                .into_iter()
                .filter_map(|(_, answer)| match answer {
                    Answer::Reply(reply) => Some(reply),
                    _ => None,
                })
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self) -> io::Result<Vec<(u32, Answer)>> {
        self.receive_with(MsgFlags::empty())
    }

    fn receive_with(&mut self, flags: MsgFlags) -> io::Result<Vec<(u32, Answer)>> {
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags | MsgFlags::MSG_TRUNC) {
                Ok(length) => break length,
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let Some(mut rest) = self.buffer.get(..length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("answer of {length} bytes was cut off")));
        };
        let mut answers = Vec::new();
        while let Some((header, _)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let Some(body) = rest.get(HEADER_BYTES..length) else { break };
            let (kind, flags) = (u16::from_ne_bytes([k0, k1]), u16::from_ne_bytes([f0, f1]));
            answers.push((u32::from_ne_bytes([s0, s1, s2, s3]), answer(kind, flags, body)));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(answers)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn answer(kind: u16, flags: u16, body: &[u8]) -> Answer {
    let code = body.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match kind {
        constants::NLMSG_DONE if code < 0 => Answer::Refused(io::Error::from_raw_os_error(-code), None),
        constants::NLMSG_DONE => Answer::Done { interrupted: flags & constants::NLM_F_DUMP_INTR != 0 },
        constants::NLMSG_ERROR if code == 0 => Answer::Acknowledged,
        constants::NLMSG_ERROR => Answer::Refused(io::Error::from_raw_os_error(-code), hint(flags, body)),
        _ => Answer::Reply((kind, body.to_vec())),
    }
}

/// The kernel's own words about a refusal.
fn hint(flags: u16, body: &[u8]) -> Option<String> {
    if flags & constants::NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let refused_length =
        body.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes))?;
    // The refused request follows the error code: its header alone when capped.
    let request_bytes = if flags & constants::NLM_F_CAPPED == 0 { refused_length as usize } else { HEADER_BYTES };
    let attributes = Attributes(body.get(4 + request_bytes.next_multiple_of(4)..)?);
    attributes.find(constants::NLMSGERR_ATTR_MSG)?.text().map(str::to_owned)
}

fn refusal(request: &Request, source: io::Error, hint: Option<String>) -> DatapathError {
    let object = match hint {
        Some(hint) => format!("{} ({hint})", request.object),
        None => request.object.clone(),
    };
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            DatapathError::NotPermitted { operation: format!("{} {object}", request.operation), source }
        }
        _ => DatapathError::Kernel { operation: request.operation, object, source },
    }
}

/// Sets an option that only makes answers better; kernels without it work as well.
fn enable(fd: BorrowedFd<'_>, option: libc::c_int) {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "nix has no wrapper for the options of SOL_NETLINK")]
    // SAFETY: the pointer is to a live `c_int` of the length given, and the kernel only reads it.
    unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length);
    }
}
