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

step "format" cargo fmt --all --check
step "lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
step "programs, which tests run" cargo build --locked --workspace --bins --quiet
step "tests" cargo test --locked --workspace --no-fail-fast
step "tidy" cargo xtask tidy
echo
echo "all passed ($(date +%H:%M:%S))"
