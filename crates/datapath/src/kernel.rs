//! The kernel itself: what carries plans out.

pub mod bpf;
