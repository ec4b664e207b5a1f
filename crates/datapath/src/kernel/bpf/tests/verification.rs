//! Every program passes this kernel's verifier, whatever is switched on, and soon enough.

use std::collections::BTreeMap;
use std::path::PathBuf;

use seaway_model::abi::services::SocketSettings;

use super::super::object::{self, EmbeddedObject, Loaded, ObjectConfig};
use super::super::{FastPathConfig, ServicePackets, prepare_folder, sys};
use super::namespaces::Namespace;
use crate::kernel::services::ebpf::can_set_error;

/// Instructions that the verifier may look at in all programs of an agent with Services; a
/// microsecond or two each. What there is takes 107,000 on Linux 6.18.
const MOST_VERIFIED: u64 = 150_000;

fn load(kind: EmbeddedObject, settings: Vec<u8>) -> Result<u64, String> {
    let namespace = Namespace::new();
    namespace.run(move || {
        let folder = PathBuf::from("/sys/fs/bpf/verified");
        prepare_folder(&folder).unwrap();
        let max_entries = BTreeMap::from([("sw_conntrack", 1024)]);
        let config = ObjectConfig { settings: &settings, max_entries: &max_entries };
        let loaded = object::load(&folder, kind, &config).map_err(|error| error.to_string())?;
        Ok(verified(&loaded))
    })
}

fn verified(loaded: &Loaded) -> u64 {
    use std::os::fd::AsFd as _;
    loaded.programs.values().map(|program| u64::from(sys::verified_instructions(program.as_fd()).unwrap())).sum()
}

fn packets(services: bool) -> u64 {
    let services = services.then(ServicePackets::default);
    let settings = FastPathConfig { services, ..FastPathConfig::default() }.settings();
    load(EmbeddedObject::Packets, bytemuck::bytes_of(&settings).to_vec()).unwrap()
}

fn sockets(kind: EmbeddedObject) -> Result<u64, String> {
    let mut most = 0;
    for can_set_error in 0..=u32::from(can_set_error()) {
        let settings = SocketSettings { can_set_error, udp_idle_seconds: 120 };
        most = load(kind, bytemuck::bytes_of(&settings).to_vec())?.max(most);
    }
    Ok(most)
}

/// Whether functions that the verifier looks at once may take pointers.
fn takes_pointers() -> bool {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (5, 12)
}

#[test]
fn every_program_loads_whatever_is_switched_on() {
    let without = packets(false);
    let with = packets(true);
    let old = sockets(EmbeddedObject::OldSockets).unwrap();
    let new = sockets(EmbeddedObject::Sockets);
    let settings = FastPathConfig::default().settings();
    let devices = load(EmbeddedObject::Devices, bytemuck::bytes_of(&settings).to_vec()).unwrap();
    println!(
        "instructions looked at: packets {without}, with Services {with}; sockets {new:?}, for any kernel {old}; devices \
         {devices}"
    );
    if takes_pointers() {
        let all = with + devices + new.unwrap();
        assert!(all <= MOST_VERIFIED, "{all}");
    }
}
