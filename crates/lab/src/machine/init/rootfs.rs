//! A node's file system: the machine's own root, seen through an overlay whose
//! changes live in memory, with the node's private directories on top.
//!
//! Nothing a node writes reaches the machine, except in the lab's own
//! directory, and every mount ends with the namespace.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use sha2::{Digest, Sha256};

use super::InitConfig;
use crate::error::{IoContext, Result};

/// Character devices every program expects: name, major and minor number.
const DEVICES: [(&str, u64, u64); 9] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
];

/// Settings of the whole machine that kubelet wants so and would change; it
/// reads and writes these files instead.
const SHADOWED_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1\n"),
    ("vm/panic_on_oom", "0\n"),
    ("kernel/panic", "10\n"),
    ("kernel/panic_on_oops", "1\n"),
    ("kernel/keys/root_maxkeys", "1000000\n"),
    ("kernel/keys/root_maxbytes", "25000000\n"),
];

/// Where programs may live on a file system of their own; the overlay does not
/// cross mounts, so these are bound again.
const PROGRAM_PLACES: [&str; 8] = ["/bin", "/home", "/lib", "/opt", "/root", "/sbin", "/srv", "/usr"];

/// Builds the file system and makes it this process's root.
pub(super) fn build(config: &InitConfig) -> Result<()> {
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let root = overlay(&config.mount_point)?;
    program_places(&root)?;
    devices(&root)?;
    attach("tmpfs", &root.join("run"), "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    attach("tmpfs", &root.join("tmp"), "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    attach("proc", &root.join("proc"), "proc", MsFlags::empty(), "")?;
    attach("sysfs", &root.join("sys"), "sysfs", MsFlags::empty(), "")?;
    attach("bpf", &root.join("sys/fs/bpf"), "bpf", MsFlags::empty(), "mode=700")?;
    cgroups(config, &root)?;
    shadow_settings(&root)?;
    private_directories(config, &root)?;
    identity(config, &root)?;
    enter(&root)?;
    // Pods may ask for mount propagation from any directory.
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)
}

/// The machine's root under a layer in memory. The layer may not be on the
/// file system it covers (the kernel answers ELOOP), hence a tmpfs.
fn overlay(mount_point: &Path) -> Result<PathBuf> {
    attach("tmpfs", mount_point, "tmpfs", MsFlags::empty(), "mode=755")?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| mount_point.join(name));
    for directory in [&upper, &work, &root] {
        fs::create_dir(directory).on_file("create", directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).on_file("open up", directory)?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    attach("overlay", &root, "overlay", MsFlags::empty(), &options)?;
    Ok(root)
}

fn program_places(root: &Path) -> Result<()> {
    let path = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(path).on_file("read", path)?;
    for mount_point in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        let place = Path::new(mount_point);
        if PROGRAM_PLACES.iter().any(|known| place.starts_with(known)) {
            bind(place, &inside(root, place), true)?;
        }
    }
    Ok(())
}

fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    attach("tmpfs", &dev, "tmpfs", MsFlags::MS_NOSUID, "mode=755")?;
    for name in ["net", "pts", "shm", "mqueue"] {
        let directory = dev.join(name);
        fs::create_dir(&directory).on_file("create", &directory)?;
    }
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor)).on_file("create device", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).on_file("open up", &path)?;
    }
    attach("devpts", &dev.join("pts"), "devpts", MsFlags::MS_NOSUID, "newinstance,ptmxmode=0666,mode=620")?;
    attach("tmpfs", &dev.join("shm"), "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    attach("mqueue", &dev.join("mqueue"), "mqueue", MsFlags::empty(), "")?;
    for (target, name) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        let path = dev.join(name);
        symlink(target, &path).on_file("create link", &path)?;
    }
    Ok(())
}

/// The same hierarchies at the same places, each showing the node's own group
/// as its root.
fn cgroups(config: &InitConfig, root: &Path) -> Result<()> {
    let base = root.join("sys/fs/cgroup");
    if config.hierarchies.iter().any(|hierarchy| !hierarchy.unified) {
        attach("tmpfs", &base, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    }
    for hierarchy in &config.hierarchies {
        let place = inside(root, &hierarchy.mount_point);
        if hierarchy.unified {
            attach("cgroup2", &place, "cgroup2", MsFlags::empty(), "")?;
            continue;
        }
        let named = hierarchy.options.starts_with("name=");
        let options = if named { format!("none,{}", hierarchy.options) } else { hierarchy.options.clone() };
        attach("cgroup", &place, "cgroup", MsFlags::empty(), &options)?;
        // Controllers mounted together are found under each of their names.
        for controller in hierarchy.options.split(',').filter(|_| hierarchy.options.contains(',')) {
            let link = base.join(controller);
            if let Some(name) = place.file_name()
                && !link.exists()
            {
                symlink(name, &link).on_file("create link", &link)?;
            }
        }
    }
    Ok(())
}

fn shadow_settings(root: &Path) -> Result<()> {
    let shadows = root.join("run/machine-settings");
    fs::create_dir(&shadows).on_file("create", &shadows)?;
    for (name, value) in SHADOWED_SETTINGS {
        let setting = root.join("proc/sys").join(name);
        if setting.exists() {
            let shadow = shadows.join(name.replace('/', "."));
            fs::write(&shadow, value).on_file("write", &shadow)?;
            bind(&shadow, &setting, false)?;
        }
    }
    Ok(())
}

fn private_directories(config: &InitConfig, root: &Path) -> Result<()> {
    for (place, directory) in &config.binds {
        bind(directory, &inside(root, place), false)?;
    }
    for directory in &config.visible {
        if directory.is_dir() {
            bind(directory, &inside(root, directory), true)?;
        }
    }
    let control = root.join("run/seaway-lab");
    bind(&config.control, &control, false)?;
    // The file itself, so that replacing the program does not disturb the lab.
    bind(&config.program, &inside(root, Path::new(super::super::launch::PROGRAM_INSIDE)), true)
}

fn identity(config: &InitConfig, root: &Path) -> Result<()> {
    let digest = Sha256::digest(format!("{}/{}", config.lab, config.name));
    let machine_id: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    for (name, content) in [
        ("etc/hosts", config.hosts_file.clone()),
        ("etc/hostname", format!("{}\n", config.name)),
        ("etc/machine-id", format!("{machine_id}\n")),
        ("etc/resolv.conf", "# The lab's wire has no name server.\n".to_owned()),
    ] {
        let path = root.join(name);
        // It may be a link to somewhere that is not there.
        let _ = fs::remove_file(&path);
        fs::write(&path, content).on_file("write", &path)?;
    }
    Ok(())
}

fn enter(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).on_file("enter", root)?;
    // The old root is put over the new one and taken off again (pivot_root(2)).
    nix::unistd::pivot_root(".", ".").on_file("make root of", root)?;
    umount2(".", MntFlags::MNT_DETACH).on_file("take the old root off", root)?;
    std::env::set_current_dir("/").on_file("enter", root)
}

fn inside(root: &Path, place: &Path) -> PathBuf {
    root.join(place.strip_prefix("/").unwrap_or(place))
}

fn change(place: &str, flags: MsFlags) -> Result<()> {
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>).on_file("change propagation of", Path::new(place))
}

fn attach(source: &str, place: &Path, kind: &str, flags: MsFlags, options: &str) -> Result<()> {
    fs::create_dir_all(place).on_file("create", place)?;
    mount(Some(source), place, Some(kind), flags, Some(options)).on_file("mount on", place)
}

fn bind(from: &Path, place: &Path, read_only: bool) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(place).on_file("create", place)?;
    } else if !place.exists() {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).on_file("create", parent)?;
        }
        fs::File::create(place).on_file("create", place)?;
    }
    mount(Some(from), place, None::<&str>, MsFlags::MS_BIND, None::<&str>).on_file("bind onto", place)?;
    if read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, place, None::<&str>, flags, None::<&str>).on_file("make read-only", place)?;
    }
    Ok(())
}
