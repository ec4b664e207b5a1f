//! seaway-cni
fn main() {}
