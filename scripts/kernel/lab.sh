#!/bin/bash
# A cluster of one node, in the emulated machine. Usage: lab.sh SEAWAY
set -euo pipefail
seaway=$1
# Every instruction is interpreted, on processors that have other work too.
export SEAWAY_LAB_PATIENCE=20
"$seaway" check --pre || true
"$seaway" lab --name emulated up --nodes 1 --timings
"$seaway" lab --name emulated test
"$seaway" lab --name emulated down
