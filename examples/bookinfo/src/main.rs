//! bookinfo
fn main() {}
