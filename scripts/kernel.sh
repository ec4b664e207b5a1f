#!/usr/bin/env bash
# Runs tests under another kernel: Debian's own (6.1 in Debian 12) in an emulated
# machine whose root is this machine's, read-only with a layer in memory above it, and
# where all cgroups are version 2. No hardware virtualization is needed.
#
# Usage: scripts/kernel.sh [bpf] [datapath] [machine] [lab]    (bpf and machine without arguments)
#   bpf       every BPF program passes the kernel's verifier; seconds
#   datapath  the data path's tests: netlink, nftables, BPF programs on the older kernel
#   machine   the lab's nodes, wire and faults
#   lab       `seaway lab up --nodes 1` and `seaway lab test`; half an hour on a machine with other work
#   -- WORDS  a command of your own
#
# KERNEL_SUITE     Debian release to take the kernel from, if not this machine's: `bullseye` has 5.10
# KERNEL_PACKAGE   package to take instead (linux-image-…-cloud-amd64)
# KERNEL_SECONDS   time limit, 1500; 5400 with lab
# KERNEL_MEMORY    memory of the machine, 4G
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD

parts=()
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
  parts+=("$1")
  shift
done
command=("${@:2}")
[ "${#parts[@]}" -gt 0 ] || [ "${#command[@]}" -gt 0 ] || parts=(bpf machine)
seconds=1500
[[ " ${parts[*]} " != *" lab "* ]] || seconds=5400
seconds=${KERNEL_SECONDS:-$seconds}
memory=${KERNEL_MEMORY:-4G}

if [ "$(id -u)" -ne 0 ]; then
  echo "kernel: must run as root: the emulated machine sees this machine's files" >&2
  exit 1
fi

# --- programs of this machine ---
missing=()
for package in qemu-system-x86 busybox-static kmod bpftool; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "kernel: installing ${missing[*]}"
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- the kernel: unpacked, never installed ---
# Another release has package lists of its own, so that this machine's stay as they are.
lists=()
suite=${KERNEL_SUITE:-}
if [ -n "$suite" ]; then
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/seaway/apt/$suite
  mkdir -p "$folder"/{lists,cache/archives}/partial
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # From where this machine's own release comes.
  apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | sort -u |
    awk -v own="$codename" -v suite="$suite" -v keys="$keys" \
      '$2 == own || $2 == own "-security" { sub(own, suite, $2); print "deb [signed-by=" keys "] " $1, $2, "main" }' \
      >"$folder/sources.list"
  lists=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache")
  [ -n "$(ls "$folder"/lists/*_Packages 2>/dev/null)" ] || apt-get "${lists[@]}" update --quiet=2
fi
package=${KERNEL_PACKAGE:-$(apt-cache "${lists[@]}" depends linux-image-cloud-amd64 |
  awk '/Depends: linux-image/ { print $2; exit }')}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/seaway/kernels/$package
if [ ! -d "$cache" ]; then
  echo "kernel: fetching $package"
  work=$(mktemp -d)
  chmod 755 "$work"
  (cd "$work" && apt-get "${lists[@]}" download --quiet=2 "$package" 2>/dev/null)
  mkdir -p "$(dirname "$cache")"
  dpkg-deb -x "$work"/*.deb "$work/unpacked"
  depmod -b "$work/unpacked" "$(ls "$work/unpacked/lib/modules")"
  mv "$work/unpacked" "$cache"
  rm -r "$work"
fi
version=$(ls "$cache/lib/modules")

# --- what runs in it, built here ---
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
executable() {
  cargo test --locked --no-run --message-format=json --quiet "$@" 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
{
  echo "cd $tree"
  for part in "${parts[@]}"; do
    case $part in
      bpf)
        echo "part bpf $(executable -p seaway-datapath --lib) every_program_loads --nocapture"
        ;;
      datapath)
        echo "part datapath $(executable -p seaway-datapath --lib)"
        ;;
      machine) echo "part machine $(executable -p seaway-lab --test machine)" ;;
      lab)
        cargo build --locked --quiet --workspace --bins
        target=${CARGO_TARGET_DIR:-target}/$(rustc --print host-tuple)/debug
        # Images are unpacked here: emulated it takes minutes, and not onto an overlay.
        "$target/seaway" lab --name warm-up up --nodes 1 >&2
        "$target/seaway" lab --name warm-up down >&2
        echo "part lab scripts/kernel/lab.sh $(realpath "$target/seaway")"
        ;;
      *)
        echo "kernel: there is no part $part" >&2
        exit 2
        ;;
    esac
  done
  [ "${#command[@]}" -eq 0 ] || echo "part command ${command[*]@Q}"
} >"$run/parts"

# --- the first file system: enough to mount this machine's ---
root=$run/initramfs
mkdir -p "$root"/{bin,proc,sys,dev,lower,upper,new,modules}
cp /bin/busybox "$root/bin/"
cp scripts/kernel/init.sh "$root/init"
cp scripts/kernel/guest.sh "$run/parts" "$root/"
echo "$cache/lib/modules" >"$root/module-directory"
for module in virtio_pci virtiofs overlay; do
  modprobe --dirname "$cache" --set-version "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "$root/modules/"
  basename "$file" >>"$root/modules/order"
done
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$run/initramfs.gz"

# --- boot ---
/usr/lib/qemu/virtiofsd --socket-path="$run/files.sock" -o source=/ -o sandbox=chroot -o cache=always \
  >"$run/files.log" 2>&1 &
files=$!
trap 'kill $files 2>/dev/null || true; rm -rf "$run"' EXIT
until [ -S "$run/files.sock" ]; do kill -0 $files; done
echo "kernel: booting $version ($(date +%H:%M:%S))"
timeout --kill-after=5 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "$memory" \
  -object memory-backend-memfd,id=memory,size="$memory",share=on -numa node,memdev=memory \
  -chardev socket,id=files,path="$run/files.sock" -device vhost-user-fs-pci,chardev=files,tag=host \
  -kernel "$cache/boot/vmlinuz-$version" -initrd "$run/initramfs.gz" \
  -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all" \
  -no-reboot -nic none -display none -serial stdio </dev/null | tee "$run/console" || true
echo "kernel: ended ($(date +%H:%M:%S))"
grep -q '^kernel: all passed' "$run/console"
