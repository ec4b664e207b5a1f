//! Maps with typed keys and values.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use bytemuck::Pod;
use libbpf_rs::{ErrorKind, MapCore as _, MapFlags, MapHandle};

use super::error::BpfError;

/// A map whose keys and values are plain structs shared with the programs.
pub(super) struct Table<K, V> {
    name: &'static str,
    map: MapHandle,
    layout: PhantomData<fn(K) -> V>,
}

// === impl Table ===

impl<K: Pod, V: Pod> Table<K, V> {
    pub(super) fn new(name: &'static str, map: MapHandle) -> Self {
        Self { name, map, layout: PhantomData }
    }

    /// Writes an entry, new or not.
    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), BpfError> {
        let (key, value) = (bytemuck::bytes_of(key), bytemuck::bytes_of(value));
        self.map.update(key, value, MapFlags::ANY).map_err(|error| self.failed("write", &error))
    }

    /// Writes entries in one system call where the kernel can (hash 5.6, prefix trie 5.16),
    /// else one by one.
    pub(super) fn put_all(&self, entries: &[(K, V)]) -> Result<(), BpfError> {
        if let Ok(count @ 2..) = u32::try_from(entries.len()) {
            let keys: Vec<u8> = entries.iter().flat_map(|(key, _)| bytemuck::bytes_of(key)).copied().collect();
            let values: Vec<u8> = entries.iter().flat_map(|(_, value)| bytemuck::bytes_of(value)).copied().collect();
            if self.map.update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY).is_ok() {
                return Ok(());
            }
        }
        entries.iter().try_for_each(|(key, value)| self.put(key, value))
    }

    /// Removes an entry. Returns whether it was there.
    pub(super) fn remove(&self, key: &K) -> Result<bool, BpfError> {
        match self.map.delete(bytemuck::bytes_of(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("delete from", &error)),
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, BpfError> {
        let value =
            self.map.lookup(bytemuck::bytes_of(key), MapFlags::ANY).map_err(|error| self.failed("read", &error))?;
        value.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// All entries; an entry that changes meanwhile may be missing.
    pub(super) fn entries(&self) -> Result<Vec<(K, V)>, BpfError> {
        let mut entries = Vec::new();
        for key in self.map.keys() {
            let key: K = self.decode(&key)?;
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn decode<T: Pod>(&self, bytes: &[u8]) -> Result<T, BpfError> {
        bytemuck::try_pod_read_unaligned(bytes).map_err(|_| BpfError::MapLayout {
            map: self.name.to_owned(),
            found_bytes: bytes.len(),
            expected_bytes: size_of::<T>(),
        })
    }

    fn failed(&self, operation: &'static str, error: &libbpf_rs::Error) -> BpfError {
        BpfError::Map { operation, map: self.name.to_owned(), reason: format!("{error:#}") }
    }
}

impl<K: Pod + Ord, V: Pod> Table<K, V> {
    /// The values of every CPU, by key, for maps that keep one for each.
    pub(super) fn per_cpu_entries(&self) -> Result<BTreeMap<K, Vec<V>>, BpfError> {
        let mut entries = BTreeMap::new();
        for key in self.map.keys() {
            let values = self.map.lookup_percpu(&key, MapFlags::ANY).map_err(|error| self.failed("read", &error))?;
            let Some(values) = values else { continue };
            let values = values.iter().map(|bytes| self.decode(bytes)).collect::<Result<Vec<V>, _>>()?;
            entries.insert(self.decode(&key)?, values);
        }
        Ok(entries)
    }

    /// Writes the same value for every CPU, unless the key is there.
    pub(super) fn put_per_cpu_if_absent(&self, key: &K, value: &V) -> Result<(), BpfError> {
        let processors = libbpf_rs::num_possible_cpus().map_err(|error| self.failed("write", &error))?;
        let values = vec![bytemuck::bytes_of(value).to_vec(); processors];
        match self.map.update_percpu(bytemuck::bytes_of(key), &values, MapFlags::NO_EXIST) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(self.failed("write", &error)),
            _ => Ok(()),
        }
    }
}
