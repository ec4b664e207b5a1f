//! One node's data path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use seaway_model::abi;
use seaway_model::agent_api::AttachmentKey;
use seaway_routing::plan::{NetworkPlan, Underlay, Via};

use super::bpf::{DeviceState, FastPath, FastPathConfig, UnderlayDevice};
use super::execute::{Executor, Failures};
use super::netlink::Netlink;
use super::nflog::DropLog;
use super::nft::Nft;
use super::read::{self, Links};
use super::rtnetlink::link;
use super::setting::Settings;
use super::{probe, underlay};
use crate::plan::{Key, Objects, Operation, WantedObjects, diff, network_objects, pod_objects, service_objects};
use crate::support::{Backend, BackendChoice, ChosenBackend};
use crate::{
    ApplyReport, AttachedLink, Count, Counters, Datapath, DatapathError, DatapathErrors, Difference, EndpointTraffic,
    PodLink,
};

/// Settings that we may change, and put back when we go.
const KEPT_SETTINGS: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// What a data path must be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Addresses of the node, to find the device of direct routes; empty: direct routes
    /// cannot be made.
    pub node_addresses: Vec<IpAddr>,
    /// Folder for pins, on a BPF file system.
    pub pin_dir: PathBuf,
    /// `/proc/sys`, as this process sees a writable one.
    pub proc_sys: PathBuf,
    /// Root of the node's cgroup v2 hierarchy, or of the folder that holds all hierarchies.
    /// Programs for sockets go there.
    pub cgroup_root: PathBuf,
    /// Folder where the container runtime keeps the network namespaces of pods.
    pub netns_dir: PathBuf,
    /// Settings of the BPF programs.
    pub fast_path: FastPathConfig,
}

/// The data path of the node in whose network namespace it was opened. Calls must come
/// from threads in that namespace.
pub struct KernelDatapath {
    pub(super) backend: Backend,
    pub(super) netlink: Netlink,
    pub(super) nft: Nft,
    pub(super) fast_path: Option<FastPath>,
    drop_log: Option<DropLog>,
    pub(super) settings: Settings,
    options: Options,
    /// Attached pods.
    pub(super) pods: BTreeMap<AttachmentKey, AttachedLink>,
    /// What the kernel holds as far as we know; none: it has not been read yet.
    pub(super) applied: Option<Objects>,
    /// Name of the underlay device that Services are served on.
    serving_device: Option<String>,
    /// What became of the XDP program there.
    device_state: Option<DeviceState>,
}

/// Opens the data path of the calling thread's network namespace.
pub fn open(choice: BackendChoice, options: Options) -> Result<(Box<dyn Datapath>, ChosenBackend), DatapathError> {
    let chosen = probe()
        .choose(choice)
        .map_err(|(backend, reason)| DatapathError::BackendUnsupported { backend: backend.name(), reason })?;
    let datapath = KernelDatapath::open(chosen.backend, options)?;
    Ok((Box::new(datapath), chosen))
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            node_addresses: Vec::new(),
            pin_dir: PathBuf::from("/sys/fs/bpf/seaway"),
            proc_sys: PathBuf::from("/proc/sys"),
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            netns_dir: PathBuf::from("/run/netns"),
            fast_path: FastPathConfig::default(),
        }
    }
}

// === impl KernelDatapath ===

impl KernelDatapath {
    /// Opens it with a given backend, whatever was probed.
    pub fn open(backend: Backend, options: Options) -> Result<Self, DatapathError> {
        let fast_path = match backend {
            Backend::Ebpf => {
                let (fast_path, adoption) = FastPath::load_or_adopt(&options.pin_dir, &options.fast_path)?;
                tracing::info!(hook = adoption.hook.name(), adopted = adoption.attachments.len(), "fast path loaded");
                Some(fast_path)
            }
            Backend::Nftables => {
                // Programs of an earlier run with the other backend would go on deciding.
                if options.pin_dir.exists() {
                    FastPath::uninstall(&options.pin_dir)?;
                }
                None
            }
        };
        let drop_log = DropLog::open()
            .inspect_err(|error| tracing::warn!(%error, "drops of nftables are counted but not told"))
            .ok();
        Ok(Self {
            backend,
            netlink: Netlink::route()?,
            nft: Nft::open()?,
            fast_path,
            drop_log,
            settings: Settings::below(options.proc_sys.clone()),
            options,
            pods: BTreeMap::new(),
            applied: None,
            serving_device: None,
            device_state: None,
        })
    }

    fn underlay(&mut self, plan: &NetworkPlan) -> Result<Option<Underlay>, DatapathError> {
        let direct = plan.routes.iter().any(|route| matches!(route.via, Via::Direct { .. }));
        if !direct && !self.serves_packets() {
            return Ok(None);
        }
        match underlay::find(&mut self.netlink, &self.options.node_addresses) {
            // Pods reach each other all the same.
            Err(error) if !direct => {
                tracing::warn!(%error, "Services are not served to clients from elsewhere");
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// Whether our programs translate packets of Services that come from elsewhere.
    fn serves_packets(&self) -> bool {
        self.backend == Backend::Ebpf && self.options.fast_path.services.is_some()
    }

    fn wanted(&mut self, plan: &NetworkPlan, links: &Links) -> Result<WantedObjects, DatapathError> {
        let underlay = self.underlay(plan)?;
        let mut wanted = network_objects(plan, underlay.as_ref(), self.backend);
        let serving = underlay.filter(|_| self.serves_packets());
        self.serving_device = serving.as_ref().map(|underlay| underlay.device.clone());
        if let Some(underlay) = &serving {
            wanted.extend(service_objects(underlay));
        }
        for pod in self.pods.values().filter(|pod| links.index(pod.host_interface.as_str()) == Some(pod.host_index)) {
            wanted.extend(pod_objects(pod, self.backend));
        }
        Ok(wanted)
    }

    fn xdp_for_people(&self) -> Option<String> {
        let device = self.serving_device.as_deref()?;
        self.device_state.as_ref().map(|state| match state {
            DeviceState::Runs { .. } => format!("on {device}"),
            DeviceState::Without(reason) => format!("not on {device}: {reason}"),
        })
    }

    /// Has the underlay device's driver send packets on, if it can. Returns what differed from the
    /// last time.
    fn serve_by_device(&mut self, links: &Links) -> Result<Option<Difference>, DatapathError> {
        let Some(fast_path) = &mut self.fast_path else { return Ok(None) };
        let Some(link) = self.serving_device.as_deref().and_then(|name| links.get(name)) else { return Ok(None) };
        let Some(mac) = link.mac else { return Ok(None) };
        let device = UnderlayDevice { index: link.index, mac, kind: link.kind.as_deref() };
        let state = fast_path.attach_device(device)?;
        let ran = matches!(self.device_state, Some(DeviceState::Runs { .. }));
        let changed = self.device_state.as_ref() != Some(&state);
        let mut difference = None;
        match &state {
            DeviceState::Runs { new: true } if ran => {
                difference = Some(Difference {
                    what: format!("the XDP program was not on {}", link.name),
                    cause: "Services".to_owned(),
                });
            }
            DeviceState::Runs { .. } if !ran => tracing::info!(device = link.name, "Services are served by XDP, too"),
            DeviceState::Without(reason) if changed => {
                tracing::info!(device = link.name, reason, "Services are served without XDP");
            }
            _ => {}
        }
        self.device_state = Some(state);
        Ok(difference)
    }

    fn read(&mut self, links: &Links, wanted: &WantedObjects) -> Result<Objects, DatapathError> {
        read::read(&mut self.netlink, &self.nft, self.fast_path.as_ref(), &self.settings, links, wanted)
    }

    fn execute(
        &mut self,
        operations: &[Operation],
        wanted: &WantedObjects,
        links: &mut Links,
    ) -> Result<Failures, DatapathError> {
        // Read before anything is changed, so that it can be put back.
        let note = match self.nft.note()? {
            Some(note) => note,
            None => note_settings(&self.settings)?,
        };
        let mut executor = Executor {
            netlink: &mut self.netlink,
            nft: &self.nft,
            fast_path: self.fast_path.as_mut(),
            links,
            settings: &self.settings,
            note: &note,
        };
        Ok(executor.run(operations, wanted))
    }

    /// Remembers what the kernel holds now: what was wanted, but for what failed.
    fn remember(&mut self, actual: Objects, wanted: &WantedObjects, failures: &Failures) {
        let mut applied: Objects = wanted.iter().map(|(key, want)| (key.clone(), want.value.clone())).collect();
        for key in &failures.keys {
            applied.remove(key);
            if let Some(value) = actual.get(key) {
                applied.insert(key.clone(), value.clone());
            }
        }
        self.applied = Some(applied);
    }

    /// What the kernel holds, read when it is not known.
    pub(super) fn known(&mut self) -> Result<&mut Objects, DatapathError> {
        let known = match self.applied.take() {
            Some(known) => known,
            None => {
                let links = Links::read(&mut self.netlink)?;
                let rules = network_objects(&NetworkPlan::default(), None, self.backend);
                self.read(&links, &rules)?
            }
        };
        Ok(self.applied.insert(known))
    }

    fn vanished(&self, links: &Links) -> Vec<Difference> {
        let is_gone = |pod: &&AttachedLink| links.index(pod.host_interface.as_str()) != Some(pod.host_index);
        let gone = self.pods.values().filter(is_gone);
        gone.map(|pod| Difference {
            what: format!("interface {} was missing and cannot be made again without the sandbox", pod.host_interface),
            cause: pod.cause(),
        })
        .collect()
    }

    fn raise_pod_links(&mut self, links: &Links) -> Result<Vec<Difference>, DatapathError> {
        let mut differences = Vec::new();
        for pod in self.pods.values() {
            let name = pod.host_interface.as_str();
            if links.get(name).is_some_and(|found| found.index == pod.host_index && !found.up) {
                self.netlink.run(vec![link::set_up(pod.host_index, name)])?;
                differences.push(Difference { what: format!("interface {name} was down"), cause: pod.cause() });
            }
        }
        Ok(differences)
    }
}

impl Datapath for KernelDatapath {
    fn set_node_addresses(&mut self, addresses: &[IpAddr]) {
        self.options.node_addresses = addresses.to_vec();
    }

    fn apply(&mut self, plan: &NetworkPlan) -> Result<ApplyReport, DatapathError> {
        let mut links = Links::read(&mut self.netlink)?;
        let wanted = self.wanted(plan, &links)?;
        let actual = match self.applied.take() {
            Some(applied) => applied,
            None => self.read(&links, &wanted)?,
        };
        let operations = diff(&wanted, &actual);
        let failures =
            if operations.is_empty() { Failures::default() } else { self.execute(&operations, &wanted, &mut links)? };
        self.remember(actual, &wanted, &failures);
        let served = self.serve_by_device(&links);
        match failures.errors.into_iter().next().or(served.err()) {
            Some(error) => Err(error),
            None => Ok(ApplyReport {
                operations: operations.iter().map(ToString::to_string).collect(),
                xdp: self.xdp_for_people(),
            }),
        }
    }

    fn attach_pod(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<AttachedLink, DatapathError> {
        self.attach(netns, wanted)
    }

    fn detach_pod(&mut self, key: &AttachmentKey, _netns: Option<BorrowedFd<'_>>) -> Result<(), DatapathError> {
        // The pod's end goes with the node's end, so its namespace is not needed.
        self.detach(key)
    }

    fn check_pod(&mut self, netns: BorrowedFd<'_>, wanted: &PodLink) -> Result<(), DatapathError> {
        self.check(netns, wanted)
    }

    fn adopt(&mut self) -> Result<Vec<AttachedLink>, DatapathError> {
        let links = Links::read(&mut self.netlink)?;
        let rules = network_objects(&NetworkPlan::default(), None, self.backend);
        let actual = self.read(&links, &rules)?;
        let adopted: Vec<AttachedLink> =
            links.pods().map(|(link, recorded)| super::pod::adopted(link, recorded, &actual)).collect();
        self.pods = adopted.iter().map(|pod| (pod.key.clone(), pod.clone())).collect();
        Ok(adopted)
    }

    fn audit(&mut self, plan: &NetworkPlan) -> Result<Vec<Difference>, DatapathError> {
        let mut links = Links::read(&mut self.netlink)?;
        let mut differences = self.vanished(&links);
        differences.extend(self.raise_pod_links(&links)?);
        let wanted = self.wanted(plan, &links)?;
        let actual = self.read(&links, &wanted)?;
        let operations = diff(&wanted, &actual);
        let failures =
            if operations.is_empty() { Failures::default() } else { self.execute(&operations, &wanted, &mut links)? };
        differences.extend(operations.iter().map(|operation| {
            let mut difference = operation.difference();
            if failures.keys.contains(operation.key()) {
                difference.what.push_str(", and could not be repaired");
            }
            difference
        }));
        for error in &failures.errors {
            tracing::warn!(%error, "audit could not repair");
        }
        self.remember(actual, &wanted, &failures);
        differences.extend(self.serve_by_device(&links)?);
        Ok(differences)
    }

    fn drain_events(&mut self, sink: &mut dyn FnMut(&abi::Event)) -> Result<(), DatapathError> {
        if let Some(fast_path) = &mut self.fast_path {
            fast_path.drain_events(sink)?;
        }
        self.drop_log.as_mut().map_or(Ok(()), |log| log.drain(sink))
    }

    fn counters(&mut self) -> Result<Counters, DatapathError> {
        let mut counters = Counters { drops: self.nft.drops()?, ..Counters::default() };
        match &self.fast_path {
            Some(fast_path) => add_fast_counters(fast_path, &mut counters)?,
            None => self.add_link_counters(&mut counters)?,
        }
        Ok(counters)
    }

    fn uninstall(&mut self) -> Result<(), DatapathErrors> {
        self.remove_everything()
    }
}

impl KernelDatapath {
    /// Without a fast path everything goes through the host stack; the links count it.
    fn add_link_counters(&mut self, counters: &mut Counters) -> Result<(), DatapathError> {
        let links = Links::read(&mut self.netlink)?;
        for pod in self.pods.values() {
            if let Some(found) = links.get(pod.host_interface.as_str()) {
                // What the node's end receives is what the pod sends.
                let traffic = EndpointTraffic {
                    sent_stack: found.received,
                    received_stack: found.sent,
                    ..EndpointTraffic::default()
                };
                counters.endpoints.insert(pod.endpoint_id, traffic);
            }
        }
        Ok(())
    }

    fn remove_everything(&mut self) -> Result<(), DatapathErrors> {
        let mut errors = DatapathErrors::default();
        let note = errors.collect(self.nft.note()).flatten();
        if let Some(mut links) = errors.collect(Links::read(&mut self.netlink)) {
            let names: Vec<(u32, String)> = links.pods().map(|(link, _)| (link.index, link.name.clone())).collect();
            let requests = names.iter().map(|(index, name)| link::delete(*index, name)).collect();
            for outcome in self.netlink.send_all(requests) {
                errors.collect(super::execute::gone_is_fine(outcome));
            }
            let nothing = WantedObjects::new();
            if let Some(actual) = errors.collect(self.read(&links, &nothing)) {
                let failures = errors.collect(self.execute(&diff(&nothing, &actual), &nothing, &mut links));
                errors.0.extend(failures.into_iter().flat_map(|failures| failures.errors));
            }
        }
        self.fast_path = None;
        errors.collect(FastPath::uninstall(&self.options.pin_dir).map_err(DatapathError::from));
        errors.collect(self.nft.uninstall());
        for (path, value) in note.iter().flat_map(|note| noted_settings(note)) {
            errors.collect(self.settings.write(path, value));
        }
        self.pods.clear();
        self.applied = None;
        errors.into_result()
    }
}

fn add_fast_counters(fast_path: &FastPath, counters: &mut Counters) -> Result<(), DatapathError> {
    let count = |counter: abi::Counter| Count { packets: counter.packets, bytes: counter.bytes };
    let fast = fast_path.counters()?;
    for (reason, counter) in fast.drops {
        let total: &mut Count = counters.drops.entry(reason).or_default();
        total.packets += counter.packets;
        total.bytes += counter.bytes;
    }
    for (id, traffic) in fast.endpoints {
        let traffic = EndpointTraffic {
            sent_fast: count(traffic.sent_fast),
            sent_stack: count(traffic.sent_stack),
            received_fast: count(traffic.received_fast),
            received_stack: count(traffic.received_stack),
        };
        counters.endpoints.insert(id, traffic);
    }
    counters.sent_on_by_xdp = count(fast_path.sent_on_by_devices()?);
    counters.untold_drops = fast.event_loss.suppressed + fast.event_loss.lost;
    Ok(())
}

/// Settings as they are now, as the note that is kept with the nftables table: it lives as
/// long as what we changed, and needs no file.
pub(super) fn note_settings(settings: &Settings) -> Result<String, DatapathError> {
    let mut words = Vec::new();
    for path in KEPT_SETTINGS {
        if let Some(value) = settings.read(path)? {
            words.push(format!("{path}={value}"));
        }
    }
    Ok(words.join(" "))
}

fn noted_settings(note: &str) -> impl Iterator<Item = (&str, &str)> {
    let known = |(path, _): &(&str, &str)| KEPT_SETTINGS.contains(path);
    note.split(' ').filter_map(|word| word.split_once('=')).filter(known)
}

/// Keys of the objects that belong to a pod link.
pub(super) fn keys_of_link(objects: &Objects, name: &str, index: u32) -> Vec<Key> {
    use crate::plan::{Element, RouteTarget, Value};
    let is_of_link = |(key, value): &(&Key, &Value)| match (key, value) {
        (Key::Neighbor { device, .. }, _) => device == name,
        (Key::Route(_), Value::Route(RouteTarget::Device { device, .. })) => device == name,
        (Key::Element(_, Element::Link(of) | Element::LinkMac(of, _) | Element::LinkAddress(of, _)), _)
        | (Key::FastLink(of), _) => *of == index,
        (Key::FastEndpoint(_), Value::FastEndpoint(endpoint)) => endpoint.id == index,
        _ => false,
    };
    objects.iter().filter(is_of_link).map(|(key, _)| key.clone()).collect()
}
