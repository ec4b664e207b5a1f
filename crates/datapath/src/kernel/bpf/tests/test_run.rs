//! Running a program on a frame of our own making (`BPF_PROG_TEST_RUN`), and everything
//! that must come of it: verdict, frame, counters, events.

use std::os::fd::AsRawFd as _;

use seaway_model::{DropReason, abi};

use super::super::{FastPath, Program};
use super::hand::Node;

/// Offsets in `struct __sk_buff` of linux/bpf.h.
const CONTEXT_BYTES: usize = 192;
const CONTEXT_INTERFACE_INDEX: usize = 40;
const CONTEXT_GSO_SIZE: usize = 176;

/// What a program decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    ToStack,
    Redirect,
    Drop(DropReason),
}

/// A frame on its way into a program.
#[derive(Clone)]
pub(super) struct TestRun {
    pub(super) program: Program,
    pub(super) interface_index: u32,
    /// Size of the segments it waits to be cut into; 0: it does not.
    pub(super) segment_bytes: u32,
    pub(super) times: u32,
    pub(super) frame: Vec<u8>,
}

// === impl TestRun ===

impl TestRun {
    pub(super) fn new(program: Program, interface_index: u32, frame: Vec<u8>) -> Self {
        Self { program, interface_index, segment_bytes: 0, times: 1, frame }
    }

    pub(super) fn segments_of(mut self, bytes: u32) -> Self {
        self.segment_bytes = bytes;
        self
    }

    pub(super) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Runs the program in the node; returns its number and the frame it left.
    pub(super) fn execute(self, node: &Node) -> (i32, Vec<u8>) {
        node.with(move |fast_path| self.execute_here(fast_path)).0
    }

    /// Runs the program in the node; returns its number and the nanoseconds it took.
    pub(super) fn time(self, node: &Node) -> (i32, u32) {
        let ((verdict, _), nanos) = node.with(move |fast_path| self.execute_here(fast_path));
        (verdict, nanos)
    }

    fn execute_here(&self, fast_path: &FastPath) -> ((i32, Vec<u8>), u32) {
        let mut context = [0u8; CONTEXT_BYTES];
        context[CONTEXT_INTERFACE_INDEX..][..4].copy_from_slice(&self.interface_index.to_ne_bytes());
        context[CONTEXT_GSO_SIZE..][..4].copy_from_slice(&self.segment_bytes.to_ne_bytes());
        let mut out = vec![0u8; self.frame.len() + 256];
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as u64,
            data_in: self.frame.as_ptr().cast(),
            data_size_in: u32::try_from(self.frame.len()).unwrap(),
            data_out: out.as_mut_ptr().cast(),
            data_size_out: u32::try_from(out.len()).unwrap(),
            ctx_in: context.as_ptr().cast(),
            ctx_size_in: u32::try_from(context.len()).unwrap(),
            repeat: i32::try_from(self.times).unwrap(),
            ..Default::default()
        };
        let program = fast_path.hooks.program(self.program).unwrap();
        // SAFETY: every pointer is to a live buffer of the size given beside it.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
        super::super::sys::check(result).unwrap();
        out.truncate(usize::try_from(options.data_size_out).unwrap());
        ((options.retval.cast_signed(), out), options.duration)
    }

    /// Runs the program and checks that verdict, drop counter and event say the same.
    /// Returns the frame it left.
    pub(super) fn expect(self, node: &Node, what: &str, expected: Verdict) -> Vec<u8> {
        node.events();
        let before = node.counters();
        let (interface_index, sent_bytes) = (self.interface_index, self.frame.len());
        let (number, frame) = self.execute(node);
        let after = node.counters();
        let dropped: Vec<DropReason> = DropReason::ALL
            .iter()
            .copied()
            .filter(|reason| after.drops.get(reason) != before.drops.get(reason))
            .collect();
        let events = node.events();
        let verdict = match number {
            -1 => Verdict::ToStack,
            7 => Verdict::Redirect,
            2 => {
                let [reason] = dropped[..] else { panic!("{what}: dropped, and counted as {dropped:?}") };
                Verdict::Drop(reason)
            }
            other => panic!("{what}: verdict {other}"),
        };
        assert_eq!(verdict, expected, "{what}");
        match expected {
            Verdict::Drop(reason) => expect_one_event(what, &events, reason, interface_index, sent_bytes),
            Verdict::ToStack | Verdict::Redirect => {
                assert!(dropped.is_empty() && events.is_empty(), "{what}: {dropped:?} {events:?}");
            }
        }
        frame
    }
}

fn expect_one_event(what: &str, events: &[abi::Event], reason: DropReason, interface_index: u32, sent_bytes: usize) {
    let [event] = events else { panic!("{what}: {} events", events.len()) };
    assert_eq!(event.reason, reason.code(), "{what}");
    assert_eq!(event.interface_index, interface_index, "{what}");
    assert_eq!(event.length_bytes as usize, sent_bytes, "{what}");
    assert!(event.boot_time_nanos > 0, "{what}");
}
