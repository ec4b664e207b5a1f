//! Loading an embedded object: settings in, maps adopted or made, programs out. There are
//! two, one for packets and one for sockets; they meet in maps of one name.
//!
//! A pinned map of the same layout is used on, with everything in it. One of another
//! layout (an upgrade changed it) is replaced: the new map takes over its entries when
//! only the size differs, and takes over its name when the programs have been loaded, so
//! that a failure on the way leaves the old ones at work.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::BpfError;
use super::sys;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapInfo, MapType, Object, ObjectBuilder, OpenMapMut, OpenObject};

/// An object, at an address that suits an ELF header.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);
static PACKETS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/seaway.bpf.o")));
static SOCKETS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/seaway_sock.bpf.o")));
static DEVICES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/seaway_xdp.bpf.o")));
static OLD_SOCKETS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/seaway_sock_old.bpf.o")));

/// Maps with this prefix are pinned; the others hold the programs' constants.
const PINNED_PREFIX: &str = "sw_";
/// Name of the map that holds an object's constants.
const SETTINGS_MAP: &str = ".rodata.settings";

/// The maps that name each other's entries: frontends, their backends, and what belongs to both.
const SERVICE_MAPS: [&str; 6] =
    ["sw_services", "sw_backends", "sw_members", "sw_slot_tables", "sw_turns", "sw_source_ranges"];

/// Which object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernel) enum EmbeddedObject {
    /// Programs for traffic control hooks.
    Packets,
    /// Programs for sockets (Linux 5.12).
    Sockets,
    /// The same, for any kernel: verified in seconds, not in milliseconds.
    OldSockets,
    /// The program that drivers run.
    Devices,
}

/// What an object is told before it is loaded.
pub(in crate::kernel) struct ObjectConfig<'a> {
    /// The struct of constants that the object has.
    pub(in crate::kernel) settings: &'a [u8],
    /// Sizes of maps by name, where they are not the default. Names that the object lacks
    /// are for the other.
    pub(in crate::kernel) max_entries: &'a BTreeMap<&'static str, u32>,
}

/// What is in the kernel after loading.
pub(in crate::kernel) struct Loaded {
    /// Maps by name.
    pub(in crate::kernel) maps: BTreeMap<String, MapHandle>,
    /// Programs by name.
    pub(in crate::kernel) programs: BTreeMap<String, OwnedFd>,
    /// Maps of an earlier run that are used on.
    pub(in crate::kernel) reused: Vec<String>,
    /// Maps of an earlier run that had another layout.
    pub(in crate::kernel) replaced: Vec<ReplacedMap>,
}

/// A map whose layout changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedMap {
    /// Its name.
    pub name: String,
    /// Whether its entries were taken over.
    pub entries_kept: bool,
}

/// What must be equal for a map to be used on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Layout {
    kind: MapType,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
}

/// Loads an object, adopting the maps pinned in `maps_dir`.
pub(in crate::kernel) fn load(
    maps_dir: &Path,
    object: EmbeddedObject,
    config: &ObjectConfig<'_>,
) -> Result<Loaded, BpfError> {
    route_libbpf_log();
    let bytes = match object {
        EmbeddedObject::Packets => &PACKETS.0,
        EmbeddedObject::Sockets => &SOCKETS.0,
        EmbeddedObject::OldSockets => &OLD_SOCKETS.0,
        EmbeddedObject::Devices => &DEVICES.0,
    };
    let mut open = ObjectBuilder::default().open_memory(bytes).map_err(|error| load_error(&error))?;
    apply_config(&mut open, config)?;
    let mut old_maps = BTreeMap::new();
    let mut reused = Vec::new();
    let start_anew = services_are_torn(&mut open, maps_dir)?;
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if start_anew && SERVICE_MAPS.contains(&name.as_str()) {
            continue;
        }
        let Some(old) = open_pinned_map(maps_dir, &name)? else { continue };
        if layout_of(&old)? == wanted_layout(&map) {
            map.reuse_fd(old.as_fd()).map_err(|error| load_error(&error))?;
            reused.push(name);
        } else {
            old_maps.insert(name, old);
        }
    }
    let object = open.load().map_err(|error| load_error(&error))?;
    let (maps, replaced) = publish_maps(maps_dir, &object, &reused, &old_maps)?;
    Ok(Loaded { maps, programs: take_programs(&object)?, reused, replaced })
}

/// Removes the pin of every map.
pub(super) fn remove_pins(maps_dir: &Path) -> Result<(), BpfError> {
    let failed = |operation, source| BpfError::Pin { operation, path: maps_dir.to_owned(), source };
    let entries = match fs::read_dir(maps_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| failed("read", error))?.path();
        fs::remove_file(&path).map_err(|source| BpfError::Pin { operation: "remove", path, source })?;
    }
    fs::remove_dir(maps_dir).map_err(|error| failed("remove", error))
}

fn apply_config(open: &mut OpenObject, config: &ObjectConfig<'_>) -> Result<(), BpfError> {
    let mut found_settings = false;
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if name == SETTINGS_MAP {
            map.set_initial_value(config.settings).map_err(|error| load_error(&error))?;
            found_settings = true;
        } else if let Some(max_entries) = config.max_entries.get(name.as_str()) {
            map.set_max_entries(*max_entries).map_err(|error| load_error(&error))?;
        }
    }
    if found_settings {
        return Ok(());
    }
    Err(BpfError::MissingPart { what: "map", name: SETTINGS_MAP.to_owned() })
}

/// Whether only some of the Services' maps can be used on. Then none is: programs of an earlier
/// run work on with theirs, whole, until the new ones are filled.
fn services_are_torn(open: &mut OpenObject, maps_dir: &Path) -> Result<bool, BpfError> {
    let (mut usable, mut wanted) = (0, 0);
    for map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if !SERVICE_MAPS.contains(&name.as_str()) {
            continue;
        }
        wanted += 1;
        let Some(old) = open_pinned_map(maps_dir, &name)? else { continue };
        // Another size alone can be made up for: entries are copied.
        let layout = Layout { max_entries: map.max_entries(), ..layout_of(&old)? };
        usable += usize::from(layout == wanted_layout(&map));
    }
    Ok(usable < wanted)
}

fn open_pinned_map(maps_dir: &Path, name: &str) -> Result<Option<MapHandle>, BpfError> {
    let path = maps_dir.join(name);
    if !name.starts_with(PINNED_PREFIX) || !path.exists() {
        return Ok(None);
    }
    let handle = MapHandle::from_pinned_path(&path).map_err(|error| map_error("open", name, &error))?;
    Ok(Some(handle))
}

fn layout_of(map: &MapHandle) -> Result<Layout, BpfError> {
    let info = MapInfo::new(map.as_fd()).map_err(|error| map_error("read", &map.name().to_string_lossy(), &error))?;
    Ok(Layout {
        kind: map.map_type(),
        key_bytes: map.key_size(),
        value_bytes: map.value_size(),
        max_entries: map.max_entries(),
        flags: info.info.map_flags,
    })
}

fn wanted_layout(map: &OpenMapMut<'_>) -> Layout {
    Layout {
        kind: map.map_type(),
        key_bytes: map.key_size(),
        value_bytes: map.value_size(),
        max_entries: map.max_entries(),
        flags: map.map_flags(),
    }
}

/// Takes handles of the loaded maps and gives the new ones their names.
fn publish_maps(
    maps_dir: &Path,
    object: &Object,
    reused: &[String],
    old_maps: &BTreeMap<String, MapHandle>,
) -> Result<(BTreeMap<String, MapHandle>, Vec<ReplacedMap>), BpfError> {
    let mut maps = BTreeMap::new();
    let mut replaced = Vec::new();
    for map in object.maps() {
        let name = map.name().to_string_lossy().into_owned();
        if !name.starts_with(PINNED_PREFIX) {
            continue;
        }
        let handle = MapHandle::try_from(&map).map_err(|error| map_error("open", &name, &error))?;
        if !reused.contains(&name) {
            if let Some(old) = old_maps.get(&name) {
                replaced.push(ReplacedMap { entries_kept: copy_entries(old, &handle), name: name.clone() });
            }
            pin_over(&handle, &maps_dir.join(&name))?;
        }
        maps.insert(name, handle);
    }
    Ok((maps, replaced))
}

/// Copies all entries where both maps have keys and values of one size. Counters of every
/// CPU and queued events start anew.
fn copy_entries(old: &MapHandle, new: &MapHandle) -> bool {
    let same = (old.map_type(), old.key_size(), old.value_size()) == (new.map_type(), new.key_size(), new.value_size());
    if !same || new.map_type().is_percpu() || new.map_type() == MapType::RingBuf {
        return false;
    }
    old.keys().all(|key| match old.lookup(&key, MapFlags::ANY) {
        Ok(Some(value)) => new.update(&key, &value, MapFlags::ANY).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    })
}

/// Pins under a name that may be taken; at no moment is there none.
fn pin_over(map: &MapHandle, path: &Path) -> Result<(), BpfError> {
    let failed = |operation, path: &PathBuf, source| BpfError::Pin { operation, path: path.clone(), source };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("-new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove", &fresh, error)),
        _ => {}
    }
    sys::pin(map.as_fd(), &fresh).map_err(|error| failed("create", &fresh, error))?;
    fs::rename(&fresh, path).map_err(|error| failed("rename", &fresh, error))
}

fn take_programs(object: &Object) -> Result<BTreeMap<String, OwnedFd>, BpfError> {
    let mut programs = BTreeMap::new();
    for program in object.progs() {
        let descriptor = program.as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|error| BpfError::Load { reason: error.to_string() })?;
        programs.insert(program.name().to_string_lossy().into_owned(), descriptor);
    }
    Ok(programs)
}

/// libbpf writes to standard error by itself; its words belong in our log.
fn route_libbpf_log() {
    fn log(level: libbpf_rs::PrintLevel, message: String) {
        let message = message.trim_end();
        match level {
            libbpf_rs::PrintLevel::Warn => tracing::warn!(target: "libbpf", "{message}"),
            libbpf_rs::PrintLevel::Info => tracing::info!(target: "libbpf", "{message}"),
            libbpf_rs::PrintLevel::Debug => tracing::trace!(target: "libbpf", "{message}"),
        }
    }
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Info, log)));
}

fn load_error(error: &libbpf_rs::Error) -> BpfError {
    BpfError::Load { reason: format!("{error:#}") }
}

fn map_error(operation: &'static str, map: &str, error: &libbpf_rs::Error) -> BpfError {
    BpfError::Map { operation, map: map.to_owned(), reason: format!("{error:#}") }
}

/// Whether the map holds what the agent decided, as opposed to what packets left behind.
pub(super) fn holds_decisions(map_name: &str) -> bool {
    matches!(map_name, "sw_endpoints" | "sw_links" | "sw_routes" | "sw_tunnel")
}
