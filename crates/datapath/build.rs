//! Compiles the kernel programs under `bpf/` with clang; the crate embeds the object.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

/// Objects: `NAME.c` becomes `NAME.o`.
const OBJECTS: &[&str] = &["seaway.bpf", "seaway_sock.bpf", "seaway_sock_old.bpf", "seaway_xdp.bpf"];

/// Compilers tried in order, unless `SEAWAY_CLANG` names one.
const COMPILERS: &[&str] = &["clang-19", "clang", "clang-20", "clang-18", "clang-17", "clang-16"];

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let sources = manifest.join("../../bpf");
    println!("cargo:rerun-if-changed={}", sources.display());
    println!("cargo:rerun-if-env-changed=SEAWAY_CLANG");
    let compiler = find_compiler();
    for object in OBJECTS {
        match compile_command(&compiler, &sources, object).status() {
            Ok(status) if status.success() => {}
            Ok(status) => fail(&format!("{compiler} could not compile {object}.c ({status}); see above")),
            Err(error) => fail(&format!("{compiler} could not be run: {error}")),
        }
    }
}

fn find_compiler() -> String {
    if let Ok(chosen) = env::var("SEAWAY_CLANG") {
        return chosen;
    }
    let runs = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    match COMPILERS.iter().find(runs) {
        Some(name) => (*name).to_owned(),
        None => fail(
            "no clang found, which compiles the kernel programs: install the package `clang-19` (Debian 12 and later, \
             Ubuntu) or `clang` (Fedora, Arch, Alpine), or set SEAWAY_CLANG to a clang of version 16 or later",
        ),
    }
}

/// `-mcpu=v3` (32-bit jumps) is what kernels from 5.1 on know; we ask for 5.10.
fn compile_command(compiler: &str, sources: &Path, object: &str) -> Command {
    let endian = if variable("CARGO_CFG_TARGET_ENDIAN") == "big" { "bpfeb" } else { "bpfel" };
    let mut command = Command::new(compiler);
    command.args(["-target", endian, "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]);
    // Packed protocol headers are read at any address by BPF.
    command.arg("-Wno-address-of-packed-member");
    // No build path in the object: the same sources make the same bytes.
    command.arg(format!("-ffile-prefix-map={}=bpf", sources.display()));
    // libbpf's helpers of the very version that loads the object.
    command.arg("-isystem").arg(variable("DEP_BPF_INCLUDE"));
    let uapi = format!("/usr/include/{}-linux-gnu", variable("CARGO_CFG_TARGET_ARCH"));
    if Path::new(&uapi).is_dir() {
        command.arg("-isystem").arg(uapi);
    }
    command.arg("-c").arg(sources.join(format!("{object}.c")));
    command.arg("-o").arg(PathBuf::from(variable("OUT_DIR")).join(format!("{object}.o")));
    command
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    process::exit(1)
}
