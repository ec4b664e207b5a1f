//! Records that the kernel programs write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_datapath::kernel::bpf::decode_event;
use seaway_model::DropReason;

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = decode_event(data) {
        assert!(DropReason::from_code(event.reason).is_some());
    }
});
