//! From a plan to kernel objects to operations: pure (no sockets, no clock).
