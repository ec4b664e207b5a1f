#!/bin/bash
# Lets this kernel's verifier look at every BPF program, in the emulated machine. Usage: bpf.sh OBJECT…
set -euo pipefail
# The end of a refusal says why; before it stand all instructions.
shown_lines=20
folder=/sys/fs/bpf/verified
mkdir "$folder"
for object in "$@"; do
  name=$(basename "$object" .o)
  if ! bpftool prog loadall "$object" "$folder/${name//./_}" >/tmp/log 2>&1; then
    tail -n "$shown_lines" /tmp/log
    exit 1
  fi
  echo "$name: $(ls "$folder/${name//./_}" | tr '\n' ' ')"
done
