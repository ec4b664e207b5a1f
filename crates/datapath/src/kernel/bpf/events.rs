//! Taking events out of the ring buffer `sw_events`.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::{self, NonNull};

use seaway_model::abi;

use super::error::BpfError;
use super::event::decode_event;
use super::sys;

/// Most events taken in one go, so that a flood cannot keep the caller here.
const BATCH: u64 = 4096;

/// The reading end of the ring buffer. Only one reader at a time sees all events.
pub(super) struct EventReader {
    ring: NonNull<libbpf_sys::ring_buffer>,
    // libbpf holds a pointer to it, so it must not move.
    inbox: NonNull<Inbox>,
}

#[derive(Default)]
struct Inbox {
    events: Vec<abi::Event>,
    malformed: u64,
}

// SAFETY: the ring and the inbox are owned by this value alone, and libbpf keeps no
// thread-local state about them.
unsafe impl Send for EventReader {}

// === impl EventReader ===

impl EventReader {
    /// Opens the reading end.
    pub(super) fn new(map: BorrowedFd<'_>) -> Result<Self, BpfError> {
        let inbox = NonNull::from(Box::leak(Box::<Inbox>::default()));
        // SAFETY: the map is open during the call, which maps its memory; `inbox` lives
        // until the ring has been freed in `drop`; `take_record` fits the type.
        let ring = unsafe {
            libbpf_sys::ring_buffer__new(map.as_raw_fd(), Some(take_record), inbox.as_ptr().cast(), ptr::null())
        };
        match NonNull::new(ring) {
            Some(ring) => Ok(Self { ring, inbox }),
            None => {
                let source = io::Error::last_os_error();
                // SAFETY: `inbox` came from `Box::leak` and nobody else has it.
                drop(unsafe { Box::from_raw(inbox.as_ptr()) });
                Err(BpfError::Events { source })
            }
        }
    }

    /// Hands over the events that are there. Does not wait.
    pub(super) fn drain(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), BpfError> {
        // SAFETY: the ring is valid until `drop`; `take_record` runs in this call only.
        let result = unsafe { libbpf_sys::ring_buffer__consume_n(self.ring.as_ptr(), BATCH) };
        sys::check(result).map_err(|source| BpfError::Events { source })?;
        // SAFETY: libbpf touches the inbox during the call above only, and `&mut self` keeps
        // others away.
        let inbox = unsafe { self.inbox.as_mut() };
        if inbox.malformed > 0 {
            tracing::warn!(records = inbox.malformed, "events of another layout in the ring buffer");
            inbox.malformed = 0;
        }
        inbox.events.drain(..).for_each(|event| sink(&event));
        Ok(())
    }

    /// Readable when events are there.
    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(libbpf_sys::ring_buffer__epoll_fd(self.ring.as_ptr())) }
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        // SAFETY: both were made in `new`, are freed here only, and the ring first.
        unsafe {
            libbpf_sys::ring_buffer__free(self.ring.as_ptr());
            drop(Box::from_raw(self.inbox.as_ptr()));
        }
    }
}

/// Called by libbpf for each record.
unsafe extern "C" fn take_record(inbox: *mut c_void, record: *mut c_void, length: u64) -> i32 {
    // SAFETY: `inbox` is what `new` gave to libbpf, and no other reference to it exists
    // while `drain` is inside libbpf.
    let inbox = unsafe { &mut *inbox.cast::<Inbox>() };
    // SAFETY: libbpf gives a record of `length` readable bytes that stays until we return.
    let record = unsafe { std::slice::from_raw_parts(record.cast::<u8>(), usize::try_from(length).unwrap_or(0)) };
    match decode_event(record) {
        Ok(event) => inbox.events.push(event),
        Err(_) => inbox.malformed += 1,
    }
    0
}
