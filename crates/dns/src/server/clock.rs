//! The clock of the cache and the forwarder: microseconds since the program started.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the first call.
#[must_use]
pub fn now_micros() -> u64 {
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, for cookies.
#[must_use]
pub fn unix_seconds() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

/// Chance from the kernel.
#[must_use]
pub fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() ^ getrandom()
}

fn getrandom() -> u64 {
    let mut octets = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| {
        use std::io::Read;
        file.read_exact(&mut octets)
    });
    if read.is_err() {
        return now_micros();
    }
    u64::from_ne_bytes(octets)
}
