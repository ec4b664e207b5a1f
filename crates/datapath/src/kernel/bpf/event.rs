//! Reading the records of the ring buffer `sw_events`. Total: any bytes give a value or an
//! error, never a panic.

use seaway_model::{DropReason, abi};

/// A record that is no drop event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    /// Too short or too long.
    #[error("the record has {found_bytes} bytes; an event has {}", size_of::<abi::Event>())]
    Length {
        /// Its length.
        found_bytes: usize,
    },
    /// A number that is no reason of this version.
    #[error("{code} is not the code of a drop reason")]
    Reason {
        /// The number.
        code: u16,
    },
    /// An address family that does not exist.
    #[error("{family} is neither 4, 6 nor 0")]
    Family {
        /// The number.
        family: u8,
    },
}

/// The event in a record. The kernel rounds records up to 8 bytes, and so is the struct.
pub fn decode_event(record: &[u8]) -> Result<abi::Event, MalformedEvent> {
    let event: abi::Event =
        bytemuck::try_pod_read_unaligned(record).map_err(|_| MalformedEvent::Length { found_bytes: record.len() })?;
    if DropReason::from_code(event.reason).is_none() {
        return Err(MalformedEvent::Reason { code: event.reason });
    }
    if !matches!(event.family, 0 | 4 | 6) {
        return Err(MalformedEvent::Family { family: event.family });
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> abi::Event {
        abi::Event { reason: DropReason::UnknownPod.code(), family: 6, ..bytemuck::Zeroable::zeroed() }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(decode_event(bytemuck::bytes_of(&event())), Ok(event()));
    }

    #[test]
    fn other_records_are_refused_with_the_cause() {
        let good = event();
        let bytes = bytemuck::bytes_of(&good);
        assert_eq!(decode_event(&[]), Err(MalformedEvent::Length { found_bytes: 0 }));
        let long = [bytes, &[0; 8]].concat();
        assert_eq!(decode_event(&long), Err(MalformedEvent::Length { found_bytes: bytes.len() + 8 }));
        let reason = abi::Event { reason: 0, ..good };
        assert_eq!(decode_event(bytemuck::bytes_of(&reason)), Err(MalformedEvent::Reason { code: 0 }));
        let family = abi::Event { family: 5, ..good };
        assert_eq!(decode_event(bytemuck::bytes_of(&family)), Err(MalformedEvent::Family { family: 5 }));
    }
}
