//! Addresses
