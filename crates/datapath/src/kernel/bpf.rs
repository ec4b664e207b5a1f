//! The fast path: BPF programs on pod links, on the VXLAN device and on the underlay
//! device, over kernel routing that is complete without them.
//!
//! Start at [`FastPath`]. Everything is pinned below one folder of a BPF file system and
//! works on when the agent dies; [`FastPath::load_or_adopt`] finds it again and puts its
//! own version of the programs in the place of the old, link by link, without a packet
//! seeing neither. The programs' sources are in `bpf/` at the root of the repository.
#![allow(unsafe_code, reason = "calls into libbpf that libbpf-rs does not wrap; each with its proof")]

mod counters;
mod device;
mod error;
mod event;
mod events;
mod hook;
pub(super) mod object;
mod probe;
mod service_tables;
pub(super) mod sys;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use libbpf_rs::MapHandle;
use seaway_model::{MacAddress, abi};

pub use counters::{EventLoss, FastPathCounters};
pub use device::{DeviceState, UnderlayDevice, XdpChoice};
pub use error::BpfError;
pub use event::{MalformedEvent, decode_event};
pub use hook::{Attachment, Hook, Program};
pub use object::ReplacedMap;
pub use probe::{BpfSupport, probe};
pub use service_tables::ServiceTables;

use device::DevicePrograms;
use events::EventReader;
use hook::Hooks;
use object::{EmbeddedObject, ObjectConfig};
use table::Table;

/// How to attach programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// A clsact queue on pod links that nobody shapes, TCX elsewhere where the kernel has it.
    ///
    /// Every TCX attachment waits for an RCU grace period with the kernel's lock on
    /// networking held: many milliseconds, twice per pod, in the path of CNI ADD. A shaper needs
    /// the place of the clsact queue for its own.
    #[default]
    Best,
    /// TCX, on pod links too, where the kernel has it.
    Tcx,
    /// A clsact queue, always.
    Clsact,
}

/// What the programs are told when they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastPathConfig {
    /// Leave flows that the host stack has translated to the host stack. Off only where
    /// nothing on the node translates addresses.
    pub remember_stack_flows: bool,
    /// Flows remembered; an entry takes about 100 bytes.
    pub max_stack_flows: u32,
    /// Drop events that a CPU may send in a second, on average.
    pub events_per_second: u32,
    /// Drop events that a CPU may send at once.
    pub event_burst: u32,
    /// How programs are attached.
    pub hook: HookChoice,
    /// How much the Services' maps hold.
    pub service_tables: ServiceTables,
    /// UDP port of the tunnel between nodes.
    pub tunnel_port: u16,
    /// Translate packets of Services; none: others do.
    pub services: Option<ServicePackets>,
}

/// How packets of Services are translated, where no socket was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePackets {
    /// Connections tracked; each takes about 350 bytes, at once.
    pub max_connections: u32,
    /// First port of the node's addresses that backends see instead of a client's. The range should
    /// be free of ports that processes get on their own and of NodePorts.
    pub first_port: u16,
    /// Last of these ports.
    pub last_port: u16,
    /// Where drivers send packets on that only pass through.
    pub xdp: XdpChoice,
}

/// What [`FastPath::load_or_adopt`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// How programs are attached.
    pub hook: Hook,
    /// Maps used on, with their content.
    pub reused_maps: Vec<String>,
    /// Maps of another layout that were replaced.
    pub replaced_maps: Vec<ReplacedMap>,
    /// Programs found on interfaces.
    pub attachments: Vec<Attachment>,
    /// Whether these run this version already. If not, a map with the agent's decisions
    /// came out empty: attach every pod link again before setting routes, so that no
    /// address is taken for unknown meanwhile.
    pub attachments_are_current: bool,
}

/// The fast path of this node.
pub struct FastPath {
    endpoints: Table<[u8; 16], abi::Endpoint>,
    links: Table<u32, abi::Link>,
    routes: Table<abi::RouteKey, abi::Route>,
    tunnel: Table<u32, abi::Tunnel>,
    endpoint_counters: Table<u32, abi::EndpointCounters>,
    drop_counters: Table<u32, abi::Counter>,
    event_budget: Table<u32, abi::EventBudget>,
    stack_flows: Table<abi::FlowKey, u8>,
    events: EventReader,
    hooks: Hooks,
    devices: DevicePrograms,
    /// Where programs go on pod links that nobody shapes.
    plain_pod_hook: Hook,
}

// === impl FastPathConfig ===

impl Default for FastPathConfig {
    fn default() -> Self {
        Self {
            remember_stack_flows: true,
            max_stack_flows: 65_536,
            events_per_second: 500,
            event_burst: 1_000,
            hook: HookChoice::Best,
            service_tables: ServiceTables::default(),
            tunnel_port: 4789,
            services: None,
        }
    }
}

// === impl ServicePackets ===

impl Default for ServicePackets {
    fn default() -> Self {
        Self { max_connections: 131_072, first_port: 1_024, last_port: 29_999, xdp: XdpChoice::Auto }
    }
}

// === impl FastPathConfig ===

impl FastPathConfig {
    fn settings(&self) -> abi::Settings {
        let packets = self.services.unwrap_or_default();
        abi::Settings {
            remember_stack_flows: self.remember_stack_flows.into(),
            events_per_second: self.events_per_second,
            event_burst: self.event_burst,
            services: self.services.is_some().into(),
            tunnel_port: self.tunnel_port.to_be(),
            first_service_port: packets.first_port,
            service_ports: u32::from(packets.last_port.saturating_sub(packets.first_port)) + 1,
        }
    }

    /// Sizes of maps, for either object.
    pub(super) fn max_entries(&self) -> BTreeMap<&'static str, u32> {
        let mut sizes = self.service_tables.max_entries();
        sizes.insert("sw_stack_flows", self.max_stack_flows);
        // Two directions each. Without Services they are never used, and as small as maps can be.
        sizes.insert("sw_conntrack", self.services.map_or(1, |packets| packets.max_connections.saturating_mul(2)));
        if self.services.is_none() {
            sizes.extend([("sw_fragments", 1), ("sw_backend_flows", 1), ("sw_affinity", 1)]);
        }
        sizes
    }
}

// === impl FastPath ===

impl FastPath {
    /// Loads the programs and takes over what an earlier run left below `pin_dir`.
    pub fn load_or_adopt(pin_dir: &Path, config: &FastPathConfig) -> Result<(Self, Adoption), BpfError> {
        let (maps_dir, links_dir) = (maps_dir(pin_dir), links_dir(pin_dir));
        prepare_folder(&maps_dir)?;
        prepare_folder(&links_dir)?;
        let hook = best_hook(config.hook);
        let plain_pod_hook = if config.hook == HookChoice::Best { Hook::Clsact } else { hook };
        let settings = config.settings();
        let max_entries = config.max_entries();
        let object_config = ObjectConfig { settings: bytemuck::bytes_of(&settings), max_entries: &max_entries };
        let mut loaded = object::load(&maps_dir, EmbeddedObject::Packets, &object_config)?;
        let mut programs = BTreeMap::new();
        for program in Program::ALL {
            let missing = || BpfError::MissingPart { what: "program", name: program.name().to_owned() };
            programs.insert(program, loaded.programs.remove(program.name()).ok_or_else(missing)?);
        }
        let hooks = Hooks::new(links_dir.clone(), hook, programs);
        let xdp = config.services.map_or(XdpChoice::Off, |packets| packets.xdp);
        let bytes = bytemuck::bytes_of(&settings).to_vec();
        let devices = DevicePrograms::adopt(xdp, (maps_dir, links_dir), bytes, max_entries)?;
        let fast_path = Self::from_parts(&mut loaded.maps, hooks, devices, plain_pod_hook)?;
        let current = !loaded.replaced.iter().any(|map| object::holds_decisions(&map.name) && !map.entries_kept);
        let attachments = if current { fast_path.hooks.refresh()? } else { fast_path.hooks.attachments()? };
        let adoption = Adoption {
            hook,
            reused_maps: loaded.reused,
            replaced_maps: loaded.replaced,
            attachments,
            attachments_are_current: current,
        };
        Ok((fast_path, adoption))
    }

    fn from_parts(
        maps: &mut BTreeMap<String, MapHandle>,
        hooks: Hooks,
        devices: DevicePrograms,
        plain_pod_hook: Hook,
    ) -> Result<Self, BpfError> {
        let mut take = |name: &'static str| {
            let missing = || BpfError::MissingPart { what: "map", name: name.to_owned() };
            maps.remove(name).map(|map| (name, map)).ok_or_else(missing)
        };
        let (_, events) = take("sw_events")?;
        let events = EventReader::new(events.as_fd())?;
        Ok(Self {
            endpoints: table(take("sw_endpoints")?),
            links: table(take("sw_links")?),
            routes: table(take("sw_routes")?),
            tunnel: table(take("sw_tunnel")?),
            endpoint_counters: table(take("sw_endpoint_counters")?),
            drop_counters: table(take("sw_drop_counters")?),
            event_budget: table(take("sw_event_budget")?),
            stack_flows: table(take("sw_stack_flows")?),
            events,
            hooks,
            devices,
            plain_pod_hook,
        })
    }

    /// How programs are attached on devices.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.hooks.hook()
    }

    /// Takes charge of a pod link: what it may send, its programs, then its addresses, so
    /// that nothing reaches the pod before its answers can leave.
    pub fn attach_pod_link(
        &mut self,
        index: u32,
        link: &abi::Link,
        endpoints: &[(IpAddr, abi::Endpoint)],
    ) -> Result<(), BpfError> {
        self.endpoint_counters.put_per_cpu_if_absent(&link.endpoint_id, &bytemuck::Zeroable::zeroed())?;
        self.links.put(&index, link)?;
        let shaped = link.flags & abi::LINK_STACK_ONLY != 0;
        let hook = if shaped { self.hooks.hook() } else { self.plain_pod_hook };
        self.hooks.attach(Attachment { program: Program::FromPod, interface_index: index }, hook)?;
        self.hooks.attach(Attachment { program: Program::ToPod, interface_index: index }, hook)?;
        self.set_endpoints(endpoints, &[])
    }

    /// Lets go of a pod link, and of every address of its endpoint.
    pub fn detach_pod_link(&mut self, index: u32) -> Result<(), BpfError> {
        let link = self.links.get(&index)?;
        match &link {
            Some(link) => self.remove_addresses_of(link)?,
            None => self.remove_addresses_behind(index)?,
        }
        self.hooks.detach(Attachment { program: Program::FromPod, interface_index: index })?;
        self.hooks.detach(Attachment { program: Program::ToPod, interface_index: index })?;
        if let Some(link) = link {
            self.endpoint_counters.remove(&link.endpoint_id)?;
            self.links.remove(&index)?;
        }
        Ok(())
    }

    /// The common case, without a walk over all pods of the node.
    fn remove_addresses_of(&self, link: &abi::Link) -> Result<(), BpfError> {
        for address in [abi::map_address(IpAddr::from(link.ipv4)), link.ipv6] {
            if self.endpoints.get(&address)?.is_some_and(|endpoint| endpoint.id == link.endpoint_id) {
                self.endpoints.remove(&address)?;
            }
        }
        Ok(())
    }

    /// When the link itself is unknown: an earlier detachment was cut short.
    fn remove_addresses_behind(&self, index: u32) -> Result<(), BpfError> {
        for (address, endpoint) in self.endpoints.entries()? {
            if endpoint.interface_index == index {
                self.endpoints.remove(&address)?;
            }
        }
        Ok(())
    }

    /// Puts the programs on the VXLAN device and tells them its MAC.
    pub fn attach_tunnel(&mut self, index: u32, mac: MacAddress) -> Result<(), BpfError> {
        self.tunnel.put(&0, &abi::Tunnel { mac: mac.0, pad: [0; 2] })?;
        self.hooks.attach(Attachment { program: Program::FromTunnel, interface_index: index }, self.hooks.hook())?;
        self.hooks.attach(Attachment { program: Program::ToNetwork, interface_index: index }, self.hooks.hook())
    }

    /// Takes the programs off the VXLAN device.
    pub fn detach_tunnel(&mut self, index: u32) -> Result<(), BpfError> {
        self.hooks.detach(Attachment { program: Program::FromTunnel, interface_index: index })?;
        self.hooks.detach(Attachment { program: Program::ToNetwork, interface_index: index })?;
        self.tunnel.put(&0, &bytemuck::Zeroable::zeroed())
    }

    /// Puts the programs on the underlay device, an Ethernet one: needed where pools are
    /// routed directly or Services are served.
    pub fn attach_underlay(&mut self, index: u32) -> Result<(), BpfError> {
        self.hooks.attach(Attachment { program: Program::FromUnderlay, interface_index: index }, self.hooks.hook())?;
        self.hooks.attach(Attachment { program: Program::ToUnderlay, interface_index: index }, self.hooks.hook())?;
        // An earlier version had the tunnel's program there.
        self.hooks.detach(Attachment { program: Program::ToNetwork, interface_index: index })
    }

    /// Takes the programs off the underlay device.
    pub fn detach_underlay(&mut self, index: u32) -> Result<(), BpfError> {
        self.devices.detach(index)?;
        self.hooks.detach(Attachment { program: Program::FromUnderlay, interface_index: index })?;
        self.hooks.detach(Attachment { program: Program::ToUnderlay, interface_index: index })
    }

    /// Puts the XDP program on an underlay device whose driver runs it, if Services are served and
    /// it is not there.
    pub fn attach_device(&mut self, device: UnderlayDevice<'_>) -> Result<DeviceState, BpfError> {
        self.devices.attach(device)
    }

    /// What the XDP program sent on.
    pub fn sent_on_by_devices(&self) -> Result<abi::Counter, BpfError> {
        self.devices.sent_on()
    }

    /// Writes and removes routes to blocks.
    pub fn set_routes(&mut self, wanted: &[(IpNet, abi::Route)], unwanted: &[IpNet]) -> Result<(), BpfError> {
        let entries: Vec<_> = wanted.iter().map(|(prefix, route)| (route_key(prefix), *route)).collect();
        self.routes.put_all(&entries)?;
        unwanted.iter().try_for_each(|prefix| self.routes.remove(&route_key(prefix)).map(drop))
    }

    /// Writes and removes addresses of this node. One without an interface
    /// (`interface_index` 0) is the node's own inside a local block: the host stack gets it.
    pub fn set_endpoints(&mut self, wanted: &[(IpAddr, abi::Endpoint)], unwanted: &[IpAddr]) -> Result<(), BpfError> {
        let entries: Vec<_> =
            wanted.iter().map(|(address, endpoint)| (abi::map_address(*address), *endpoint)).collect();
        self.endpoints.put_all(&entries)?;
        unwanted.iter().try_for_each(|address| self.endpoints.remove(&abi::map_address(*address)).map(drop))
    }

    /// The routes in the kernel.
    pub fn routes(&self) -> Result<Vec<(IpNet, abi::Route)>, BpfError> {
        let entries = self.routes.entries()?;
        Ok(entries.into_iter().filter_map(|(key, route)| Some((prefix_of(&key)?, route))).collect())
    }

    /// The addresses in the kernel.
    pub fn endpoints(&self) -> Result<Vec<(IpAddr, abi::Endpoint)>, BpfError> {
        let entries = self.endpoints.entries()?;
        Ok(entries.into_iter().map(|(address, endpoint)| (abi::unmap_address(address), endpoint)).collect())
    }

    /// The pod links in the kernel, by interface index.
    pub fn links(&self) -> Result<Vec<(u32, abi::Link)>, BpfError> {
        self.links.entries()
    }

    /// The programs on interfaces.
    pub fn attachments(&self) -> Result<Vec<Attachment>, BpfError> {
        self.hooks.attachments()
    }

    /// Flows that the host stack keeps.
    pub fn stack_flows(&self) -> Result<Vec<abi::FlowKey>, BpfError> {
        Ok(self.stack_flows.entries()?.into_iter().map(|(key, _)| key).collect())
    }

    /// Hands over the drop events that have come since the last call, at most a few
    /// thousand. Does not wait.
    pub fn drain_events(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), BpfError> {
        self.events.drain(sink)
    }

    /// Readable when there are events.
    #[must_use]
    pub fn events_readiness(&self) -> BorrowedFd<'_> {
        self.events.readiness()
    }

    /// Counters since the maps were made.
    pub fn counters(&self) -> Result<FastPathCounters, BpfError> {
        counters::read(&self.endpoint_counters, &self.drop_counters, &self.event_budget)
    }

    /// Removes every program and map of the fast path from the kernel, whichever version
    /// left them. Needs nothing loaded.
    pub fn uninstall(pin_dir: &Path) -> Result<(), BpfError> {
        let detached = hook::detach_all(&links_dir(pin_dir));
        let removed = object::remove_pins(&maps_dir(pin_dir));
        detached.and(removed)?;
        match fs::remove_dir(pin_dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(BpfError::Pin { operation: "remove", path: pin_dir.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Where programs go on devices.
fn best_hook(choice: HookChoice) -> Hook {
    if choice == HookChoice::Clsact {
        return Hook::Clsact;
    }
    match probe::probe_tcx() {
        Ok(()) => Hook::Tcx,
        Err(error) => {
            if choice == HookChoice::Tcx {
                tracing::warn!(%error, "this kernel has no TCX (Linux 6.6): programs are filters on clsact queues");
            }
            Hook::Clsact
        }
    }
}

fn table<K: bytemuck::Pod, V: bytemuck::Pod>((name, map): (&'static str, MapHandle)) -> Table<K, V> {
    Table::new(name, map)
}

pub(super) fn maps_dir(pin_dir: &Path) -> PathBuf {
    pin_dir.join("maps")
}

pub(super) fn links_dir(pin_dir: &Path) -> PathBuf {
    pin_dir.join("links")
}

/// Makes a folder and checks that pins in it outlive us.
pub(super) fn prepare_folder(path: &Path) -> Result<(), BpfError> {
    let failed = |operation, source| BpfError::Pin { operation, path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(|source| failed("create", source))?;
    let folder = File::open(path).map_err(|source| failed("open", source))?;
    match probe::is_on_bpf_file_system(folder.as_fd()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BpfError::NotBpfFileSystem { path: path.to_owned() }),
        Err(source) => Err(failed("examine", source)),
    }
}

/// IPv4 prefixes are mapped into IPv6, so 96 bits longer.
fn route_key(prefix: &IpNet) -> abi::RouteKey {
    let mapped_bits = if prefix.addr().is_ipv4() { 96 } else { 0 };
    abi::RouteKey {
        prefix_length_bits: u32::from(prefix.prefix_len()) + mapped_bits,
        address: abi::map_address(prefix.network()),
    }
}

fn prefix_of(key: &abi::RouteKey) -> Option<IpNet> {
    let address = abi::unmap_address(key.address);
    let mapped_bits = if address.is_ipv4() { 96 } else { 0 };
    let length = key.prefix_length_bits.checked_sub(mapped_bits)?;
    IpNet::new(address, u8::try_from(length).ok()?).ok()
}
