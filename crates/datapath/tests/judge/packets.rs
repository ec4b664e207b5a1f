//! Judges a data path by real packets: frames go in at the devices of a node in a network
//! namespace, and what comes out of them is read. The kernel carries a frame from device to device
//! within the call that writes it, so that nothing has to be waited for.

pub(crate) mod checksum;
pub(crate) mod device;
pub(crate) mod frame;
pub(crate) mod local;
pub(crate) mod node;
pub(crate) mod sockets;
pub(crate) mod verdict;
