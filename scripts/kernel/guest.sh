#!/bin/bash
# Inside the emulated machine: runs the parts and ends it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root RUST_BACKTRACE=0
failed=
hostname emulated
ip link set lo up

part() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name on $(uname -r)"
  if "$@" 2>&1; then
    echo "kernel: $name passed after $((SECONDS - started)) s"
  else
    failed="$failed $name"
    echo "kernel: $name FAILED after $((SECONDS - started)) s"
  fi
}

echo "cgroups: $(stat -f -c %T /sys/fs/cgroup), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
. /run/parts
[ -n "$failed" ] && echo "kernel: failed:$failed" || echo "kernel: all passed"
sync
# The first process may not end, and there is nothing to shut down in order.
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
