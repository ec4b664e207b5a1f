#!/usr/bin/env bash
# Runs fuzz targets for a while each; a crash leaves its input in fuzz/artifacts.
# Usage: scripts/fuzz.sh SECONDS [TARGET]...
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

host=$(rustc --print host-tuple)
# A target folder of its own: `fuzzing` fits nothing else. The target is named, so that build scripts and macros stay as they
# are. RUSTFLAGS replaces what the workspace says of the target: libFuzzer asks the dynamic linker for memcmp.
(
  cd fuzz
  RUSTFLAGS="-Ctarget-feature=-crt-static --cfg fuzzing" RUSTC_WRAPPER="$PWD/../scripts/fuzz/rustc.sh" \
    cargo build --quiet --bins ${FUZZ_FEATURES:-} --target "$host" --target-dir target
)

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | grep -vx seaway-fuzz)
fi
for target in "${targets[@]}"; do
  echo "== $target for $seconds s"
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  log=fuzz/artifacts/$target/log
  if ! "fuzz/target/$host/debug/$target" "fuzz/corpus/$target" "-max_total_time=$seconds" -rss_limit_mb=2048 \
    -timeout=10 -print_final_stats=1 "-artifact_prefix=fuzz/artifacts/$target/" >"$log" 2>&1; then
    tail -40 "$log"
    exit 1
  fi
  grep -E 'number_of_executed_units|new_units_added' "$log"
done
