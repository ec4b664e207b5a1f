//! The data path on the real kernel, through its public trait, for both backends. Needs
//! root, and says so when it is missing. Every test has its own network namespaces:
//! nodes, pods, a switch between the nodes, and a host outside of the cluster.

mod audit;
mod lifecycle;
mod outside;
mod pods;
mod spoofing;
mod traffic;
mod world;
