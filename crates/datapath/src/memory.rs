//! What the process holds of the machine's memory.
#![allow(unsafe_code, reason = "a call into the C library that no crate wraps, with its proof")]

/// Gives memory that is free inside the process back to the kernel. After a list of a large
/// cluster that is most of what the process holds: the C library keeps what was freed between
/// things that stay.
pub fn return_unused() {
    // SAFETY: takes no pointer, and may be called at any time from any thread (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kibibytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_was_freed_between_things_that_stay_goes_back() {
        let all: Vec<Vec<u8>> = (0..32_768).map(|_| vec![1; 2_048]).collect();
        let kept: Vec<Vec<u8>> =
            all.into_iter().enumerate().filter_map(|(index, one)| (index % 64 == 0).then_some(one)).collect();
        let before = resident_kibibytes();
        return_unused();
        let after = resident_kibibytes();
        assert_eq!(kept.len(), 512);
        // 64 MiB were asked for, one of 64 stays; half of the rest leaves room for other tests' needs.
        assert!(after + 32 * 1_024 < before, "{before} KiB before, {after} KiB after");
    }
}
