#!/bin/busybox sh
# First program of the emulated machine: makes this machine's files its root.
set -e
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t virtiofs -o ro host /lower
mount -t tmpfs -o size=60%,mode=755 upper /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /new
mount -t tmpfs -o mode=755 run /new/run
mount -t tmpfs tmp /new/tmp
cp /guest.sh /parts /new/run/
mkdir -p /new/lib/modules
mount --bind "/new$(cat /module-directory)" /new/lib/modules
# What containerd unpacks into cannot be an overlay itself.
mkdir -p /new/var/lib/seaway-lab
mount -t tmpfs -o size=60% labs /new/var/lib/seaway-lab
for mounted in proc sys dev; do mount --move "/$mounted" "/new/$mounted"; done
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount -t bpf bpf /new/sys/fs/bpf
exec switch_root /new /bin/bash /run/guest.sh
