#!/usr/bin/env bash
# Runs fuzz targets for a while each; a crash leaves its input in fuzz/artifacts.
# Usage: scripts/fuzz.sh SECONDS [TARGET]...
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

host=$(rustc --print host-tuple)
# Counters at each edge lead the fuzzer; they are part of the stable compiler. There is no
# sanitizer, which is not: the parsers have no unsafe code, and overflow is checked.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ctarget-feature=-crt-static --cfg fuzzing"
# A target folder of its own: other flags fit nothing else. The target is named, so that build scripts and macros get no counters.
(
  cd fuzz
  env "CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUSTFLAGS=$flags" \
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
