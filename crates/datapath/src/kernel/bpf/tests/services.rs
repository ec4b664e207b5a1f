//! Packets of Services, translated where they enter the node.

mod cluster;
mod corner_cases;
mod cost;
mod devices;
mod direct_return;
mod outside;
mod plan;
mod pods;
mod talk;
mod translation;
