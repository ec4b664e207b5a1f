#!/usr/bin/env bash
# Installs what building, testing and running Seaway's lab needs on Debian 12,
# by package name. Quick when everything is there. Usage: scripts/setup.sh [build|lab]
set -euo pipefail

what=${1:-lab}

# A C compiler for the few C dependencies, static libelf and zlib for the BPF
# loader, clang for the BPF programs.
build_packages=(build-essential clang-19 libbpf-dev libelf-dev zlib1g-dev pkg-config git ca-certificates)
# What kubelet, containerd and the peers call, and what tests look through.
lab_packages=(
  runc crun containernetworking-plugins busybox-static
  iproute2 iputils-ping iptables nftables conntrack ebtables socat kmod
  bpftool iperf3 tcpdump jq curl procps dnsperf knot-dnsutils
)

packages=("${build_packages[@]}")
[ "$what" = build ] || packages+=("${lab_packages[@]}")

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup: not root; install these and run again: ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update --quiet=2
  apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

# Toolchains come from the user: their versions are pinned in Cargo.toml and kubernetes/*/go.mod.
tools=(cargo)
[ "$what" = build ] || tools+=(go)
for tool in "${tools[@]}"; do
  if ! command -v "$tool" >/dev/null; then
    echo "setup: $tool is not on the PATH; install the ${tool/cargo/Rust} toolchain first" >&2
    exit 1
  fi
done
echo "setup: complete"
