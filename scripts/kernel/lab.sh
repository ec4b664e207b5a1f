#!/bin/bash
# A cluster of one node, in the emulated machine. Usage: lab.sh SEAWAY
set -euo pipefail
seaway=$1
"$seaway" check --pre || true
"$seaway" lab --name emulated up --nodes 1 --timings
"$seaway" lab --name emulated test
"$seaway" lab --name emulated down
