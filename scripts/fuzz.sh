#!/usr/bin/env bash
# Runs every fuzz target for a while; a crash leaves its input in fuzz/artifacts.
# Usage: scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1

if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "fuzz: installing cargo-fuzz"
  cargo install --locked --quiet cargo-fuzz
fi

# Without a sanitizer: the parsers have no unsafe code, and it runs on stable.
for target in $(cargo fuzz list); do
  echo "== $target for $seconds s"
  cargo fuzz run --sanitizer none --dev "$target" -- "-max_total_time=$seconds" -rss_limit_mb=2048
done
