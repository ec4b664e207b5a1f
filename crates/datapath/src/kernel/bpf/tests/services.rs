//! Packets of Services, translated where they enter the node.

mod cluster;
mod outside;
mod plan;
mod talk;
