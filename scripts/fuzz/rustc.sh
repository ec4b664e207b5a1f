#!/usr/bin/env bash
# rustc for fuzz targets: counters at each edge of our own crates lead the fuzzer; they are part of the stable
# compiler. What others wrote is compiled as ever, which saves minutes. There is no sanitizer, which is not stable:
# the parsers have no unsafe code, and overflow is checked.
set -euo pipefail
rustc=$1
shift
case " $* " in
  *" --crate-name seaway_"*)
    exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
  *) exec "$rustc" "$@" ;;
esac
