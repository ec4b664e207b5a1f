//! seaway
fn main() {}
