//! Maps of plain keys and values, changed many entries at a time.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr;

use bytemuck::Pod;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::kernel::bpf::{BpfError, sys};

/// Entries asked for at once. The kernel wants room for a whole bucket of a hash.
const READ_AT_ONCE: usize = 8192;

/// The kernel's own "not supported", which no C library names.
const ENOTSUPP: i32 = 524;

/// A map whose keys and values are plain structs shared with the programs.
pub(super) struct Map<K, V> {
    name: &'static str,
    map: MapHandle,
    layout: PhantomData<fn(K) -> V>,
}

/// A position in a hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Position {
    /// Before all entries.
    #[default]
    Start,
    /// After those of a bucket.
    After(u32),
    /// After all.
    End,
}

// === impl Position ===

impl Position {
    pub(super) fn is_at_end(self) -> bool {
        self == Self::End
    }
}

// === impl Map ===

impl<K: Pod, V: Pod> Map<K, V> {
    /// Wraps a map, if its entries have the sizes of ours.
    pub(super) fn new(name: &'static str, map: MapHandle) -> Result<Self, BpfError> {
        let (found_bytes, expected_bytes) = ((map.key_size() + map.value_size()) as usize, size_of::<(K, V)>());
        if (map.key_size() as usize, map.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(BpfError::MapLayout { map: name.to_owned(), found_bytes, expected_bytes });
        }
        Ok(Self { name, map, layout: PhantomData })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Entries it may hold.
    pub(super) fn limit(&self) -> u64 {
        self.map.max_entries().into()
    }

    /// Writes entries, new or not.
    pub(super) fn put_all(&self, keys: &[K], values: &[V]) -> Result<(), BpfError> {
        debug_assert_eq!(keys.len(), values.len());
        if keys.len() < 2 {
            return keys.iter().zip(values).try_for_each(|(key, value)| self.put(key, value));
        }
        let mut count = u32::try_from(keys.len()).map_err(|error| self.failed("write", &io::Error::other(error)))?;
        let (key_bytes, value_bytes): (&[u8], &[u8]) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
        // SAFETY: both slices hold `count` entries of the map's sizes, checked when it was wrapped,
        // and outlive the call, which only reads them; null options mean the defaults.
        let result = sys::check(unsafe {
            libbpf_sys::bpf_map_update_batch(
                self.map.as_fd().as_raw_fd(),
                key_bytes.as_ptr().cast(),
                value_bytes.as_ptr().cast(),
                &mut count,
                ptr::null(),
            )
        });
        match result {
            Ok(_) => Ok(()),
            // Prefix tries learned batches in 5.16.
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
                keys.iter().zip(values).try_for_each(|(key, value)| self.put(key, value))
            }
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    /// Writes an entry, new or not.
    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), BpfError> {
        // SAFETY: key and value have the map's sizes and outlive the call.
        let result = sys::check(unsafe {
            libbpf_sys::bpf_map_update_elem(
                self.map.as_fd().as_raw_fd(),
                bytemuck::bytes_of(key).as_ptr().cast(),
                bytemuck::bytes_of(value).as_ptr().cast(),
                0,
            )
        });
        result.map(drop).map_err(|error| self.failed("write", &error))
    }

    /// Removes entries; those that are not there do not matter. Returns how many were.
    pub(super) fn remove_all(&self, keys: &[K]) -> Result<u64, BpfError> {
        let (mut rest, mut removed) = (keys, 0);
        while rest.len() > 1 {
            let mut count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let bytes: &[u8] = bytemuck::cast_slice(rest);
            // SAFETY: the slice holds `count` keys of the map's size and outlives the call.
            let result = sys::check(unsafe {
                libbpf_sys::bpf_map_delete_batch(
                    self.map.as_fd().as_raw_fd(),
                    bytes.as_ptr().cast(),
                    &mut count,
                    ptr::null(),
                )
            });
            removed += u64::from(count);
            match result {
                Ok(_) => return Ok(removed),
                // It stops at the first that is not there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest = rest.get(count as usize + 1..).unwrap_or_default();
                }
                Err(error) if error.raw_os_error() == Some(ENOTSUPP) => break,
                Err(error) => return Err(self.failed("delete from", &error)),
            }
        }
        for key in rest {
            removed += u64::from(self.remove(key)?);
        }
        Ok(removed)
    }

    fn remove(&self, key: &K) -> Result<bool, BpfError> {
        match self.map.delete(bytemuck::bytes_of(key)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(BpfError::Map { operation: "delete from", map: self.name.to_owned(), reason: format!("{error:#}") })
            }
        }
    }

    /// All entries of a hash; one that changes meanwhile may be missing or come twice.
    pub(super) fn entries(&self) -> Result<Vec<(K, V)>, BpfError> {
        let (mut found, mut position) = (Vec::new(), Position::default());
        while !position.is_at_end() {
            found.append(&mut self.next_entries(&mut position)?);
        }
        Ok(found)
    }

    /// The next few thousand entries of a hash after a position, which is moved on.
    pub(super) fn next_entries(&self, position: &mut Position) -> Result<Vec<(K, V)>, BpfError> {
        let (mut keys, mut values) = (vec![K::zeroed(); READ_AT_ONCE], vec![V::zeroed(); READ_AT_ONCE]);
        loop {
            let mut from = match position {
                Position::Start => None,
                Position::After(bucket) => Some(*bucket),
                Position::End => return Ok(Vec::new()),
            };
            let mut count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            let mut next = 0u32;
            let from = from.as_mut().map_or(ptr::null_mut(), |bucket| ptr::from_mut(bucket).cast());
            // SAFETY: both buffers hold `count` entries of the map's sizes; the positions of a hash
            // are 32-bit numbers; all outlive the call.
            let result = sys::check(unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    self.map.as_fd().as_raw_fd(),
                    from,
                    ptr::from_mut(&mut next).cast(),
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    &mut count,
                    ptr::null(),
                )
            });
            *position = match result {
                Ok(_) => Position::After(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Position::End,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let room = keys.len() * 2;
                    keys.resize(room, K::zeroed());
                    values.resize(room, V::zeroed());
                    continue;
                }
                Err(error) => return Err(self.failed("read", &error)),
            };
            return Ok(keys.into_iter().zip(values).take(count as usize).collect());
        }
    }

    /// All keys, one system call each: for prefix tries.
    pub(super) fn keys(&self) -> Vec<K> {
        self.map.keys().filter_map(|key| bytemuck::try_pod_read_unaligned(&key).ok()).collect()
    }

    fn failed(&self, operation: &'static str, error: &io::Error) -> BpfError {
        let map = self.name.to_owned();
        if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM | libc::ENOSPC)) && operation == "write" {
            return BpfError::MapFull { map, limit: self.limit() };
        }
        BpfError::Map { operation, map, reason: error.to_string() }
    }
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, BpfError> {
        let value = self.map.lookup(bytemuck::bytes_of(key), MapFlags::ANY);
        let value = value.map_err(|error| BpfError::Map {
            operation: "read",
            map: self.name.to_owned(),
            reason: format!("{error:#}"),
        })?;
        Ok(value.and_then(|bytes| bytemuck::try_pod_read_unaligned(&bytes).ok()))
    }
}
