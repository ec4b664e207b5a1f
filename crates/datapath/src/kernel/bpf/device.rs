//! The XDP program on underlay devices: packets of translated connections that only pass
//! through this node are sent on before the kernel makes a buffer for them.
//!
//! It is extra: without it the programs of the traffic control hooks do the same. So it is loaded
//! only for a device whose driver runs it itself, and a driver that refuses is no error. Its link
//! is pinned beside theirs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use seaway_model::{MacAddress, abi};

use super::error::BpfError;
use super::hook::{detach_pinned, names_in, open_live_link, pin_error};
use super::object::{self, EmbeddedObject, ObjectConfig};
use super::sys;
use super::table::Table;

/// Name of the program, and what its links' names start with.
const PROGRAM: &str = "sw_from_device";
/// What veth devices are to the kernel.
const VETH: &str = "veth";

/// Where the program goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XdpChoice {
    /// Nowhere.
    Off,
    /// Devices whose driver runs XDP itself, but no veth device: what such a one sends by XDP is
    /// lost unless the other end, which is not ours, runs an XDP program; and those who send to it
    /// leave checksums undone.
    #[default]
    Auto,
    /// Veth devices too.
    Always,
}

/// A device that the program may be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderlayDevice<'a> {
    /// Index of the interface.
    pub index: u32,
    /// Its MAC address.
    pub mac: MacAddress,
    /// `veth`, `bond`, …; none for devices of drivers.
    pub kind: Option<&'a str>,
}

/// What became of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceState {
    /// The program runs there; whether it was put there now.
    Runs {
        /// It was not there before.
        new: bool,
    },
    /// It does not, and why.
    Without(String),
}

/// The program, its maps, and what drivers said.
pub(super) struct DevicePrograms {
    choice: XdpChoice,
    maps_dir: PathBuf,
    links_dir: PathBuf,
    settings: Vec<u8>,
    max_entries: BTreeMap<&'static str, u32>,
    loaded: Option<Loaded>,
    refused: BTreeMap<u32, String>,
}

struct Loaded {
    program: OwnedFd,
    devices: Table<u32, abi::conntrack::XdpDevice>,
    counters: Table<u32, abi::Counter>,
}

// === impl DevicePrograms ===

impl DevicePrograms {
    /// Takes over what an earlier run left: its links get this version of the program, or go.
    pub(super) fn adopt(
        choice: XdpChoice,
        (maps_dir, links_dir): (PathBuf, PathBuf),
        settings: Vec<u8>,
        max_entries: BTreeMap<&'static str, u32>,
    ) -> Result<Self, BpfError> {
        let refused = BTreeMap::new();
        let mut programs = Self { choice, maps_dir, links_dir, settings, max_entries, loaded: None, refused };
        for index in programs.indexes()? {
            match programs.live_link(index)? {
                Some(_) if choice == XdpChoice::Off => programs.detach(index)?,
                Some(link) => {
                    let program = programs.loaded()?.program.as_fd();
                    sys::update_link(link.as_fd(), program).map_err(|source| failed(index, source))?;
                }
                None => {}
            }
        }
        Ok(programs)
    }

    /// Puts the program on a device, if it should be there, can be and is not.
    pub(super) fn attach(&mut self, device: UnderlayDevice<'_>) -> Result<DeviceState, BpfError> {
        if self.choice == XdpChoice::Off {
            return Ok(DeviceState::Without("switched off".to_owned()));
        }
        if self.choice == XdpChoice::Auto && device.kind == Some(VETH) {
            let reason = "a veth device: what it sends by XDP is lost unless its other end expects that";
            return Ok(DeviceState::Without(reason.to_owned()));
        }
        if let Some(reason) = self.refused.get(&device.index) {
            return Ok(DeviceState::Without(reason.clone()));
        }
        let runs = self.live_link(device.index)?.is_some();
        let entry = abi::conntrack::XdpDevice { mac: device.mac.0, pad: [0; 2] };
        let loaded = self.loaded()?;
        if loaded.devices.get(&device.index)? != Some(entry) {
            loaded.devices.put(&device.index, &entry)?;
        }
        if runs {
            return Ok(DeviceState::Runs { new: false });
        }
        match sys::attach_xdp(loaded.program.as_fd(), device.index) {
            Ok(link) => {
                let path = self.path(device.index);
                sys::pin(link.as_fd(), &path).map_err(|error| pin_error("create", &path, error))?;
                Ok(DeviceState::Runs { new: true })
            }
            Err(error) => {
                loaded.devices.remove(&device.index)?;
                let reason = explain(&error);
                self.refused.insert(device.index, reason.clone());
                Ok(DeviceState::Without(reason))
            }
        }
    }

    /// Takes the program off a device; it may not be there.
    pub(super) fn detach(&mut self, index: u32) -> Result<(), BpfError> {
        self.refused.remove(&index);
        let path = self.path(index);
        detach_pinned(&path).map_err(|source| BpfError::Detach { program: PROGRAM, interface_index: index, source })?;
        match &self.loaded {
            Some(loaded) => loaded.devices.remove(&index).map(drop),
            None => Ok(()),
        }
    }

    /// Packets that the program sent on, and their bytes.
    pub(super) fn sent_on(&self) -> Result<abi::Counter, BpfError> {
        let Some(loaded) = &self.loaded else { return Ok(abi::Counter { packets: 0, bytes: 0 }) };
        let mut total = abi::Counter { packets: 0, bytes: 0 };
        for counter in loaded.counters.per_cpu_entries()?.values().flatten() {
            total.packets += counter.packets;
            total.bytes += counter.bytes;
        }
        Ok(total)
    }

    fn loaded(&mut self) -> Result<&Loaded, BpfError> {
        if self.loaded.is_none() {
            let config = ObjectConfig { settings: &self.settings, max_entries: &self.max_entries };
            let mut parts = object::load(&self.maps_dir, EmbeddedObject::Devices, &config)?;
            let missing = |what, name: &str| BpfError::MissingPart { what, name: name.to_owned() };
            let mut map = |name: &'static str| parts.maps.remove(name).ok_or_else(|| missing("map", name));
            let (devices, counters) = (map("sw_xdp_devices")?, map("sw_xdp_counters")?);
            self.loaded = Some(Loaded {
                program: parts.programs.remove(PROGRAM).ok_or_else(|| missing("program", PROGRAM))?,
                devices: Table::new("sw_xdp_devices", devices),
                counters: Table::new("sw_xdp_counters", counters),
            });
        }
        self.loaded.as_ref().ok_or_else(|| BpfError::MissingPart { what: "program", name: PROGRAM.to_owned() })
    }

    fn path(&self, index: u32) -> PathBuf {
        self.links_dir.join(format!("{PROGRAM}-{index}"))
    }

    fn live_link(&self, index: u32) -> Result<Option<OwnedFd>, BpfError> {
        open_live_link(&self.path(index), index)
    }

    /// Interfaces that the folder of links records.
    fn indexes(&self) -> Result<Vec<u32>, BpfError> {
        let index = |name: String| name.strip_prefix(PROGRAM)?.strip_prefix('-')?.parse().ok();
        Ok(names_in(&self.links_dir)?.into_iter().filter_map(index).collect())
    }
}

fn failed(interface_index: u32, source: std::io::Error) -> BpfError {
    BpfError::Attach { program: PROGRAM, interface_index, hook: "XDP", source }
}

fn explain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EINVAL) => "its driver does not run XDP".to_owned(),
        Some(libc::EBUSY | libc::EEXIST) => "another XDP program is there".to_owned(),
        _ => format!("its driver refuses XDP: {error}"),
    }
}
