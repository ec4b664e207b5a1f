#!/usr/bin/env bash
# The whole check of the tree, the same here and on a build machine. Tests that
# make network namespaces need root and say so.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  echo
  echo "== $1 ($(date +%H:%M:%S))"
  shift
  "$@"
}

# The tests' clusters need them; built here, their progress can be seen.
build_kubernetes() {
  local seaway
  seaway=${CARGO_TARGET_DIR:-target}/$(rustc --print host-tuple)/debug/seaway
  "$seaway" lab --name warm-up up --nodes 1
  "$seaway" lab --name warm-up down
}

# The CNI project's own program, with which tests call the plugin.
build_cnitool() {
  local folder=${CARGO_TARGET_DIR:-target}/go
  mkdir -p "$folder"
  folder=$(realpath "$folder")
  (cd kubernetes/cni && CGO_ENABLED=0 GOBIN=$folder go install -mod=readonly tool)
  export SEAWAY_CNITOOL=$folder/cnitool
}

step "format" cargo fmt --all --check
step "lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
step "programs, which tests run" cargo build --locked --workspace --bins --quiet
step "Kubernetes programs, built once" build_kubernetes
step "cnitool" build_cnitool
step "tests" cargo test --locked --workspace --no-fail-fast
step "tidy" cargo xtask tidy
echo
echo "all passed ($(date +%H:%M:%S))"
