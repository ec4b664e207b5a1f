# Everything a person or a machine does with this tree. `make help` lists it.
# Each target does its own set-up; nothing needs to be run before.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-build build test test-kernel tidy format lab lab-down bench fuzz

# Programs are built for this target, statically linked (.cargo/config.toml).
TARGET := $(shell rustc --print host-tuple 2>/dev/null)
PROGRAMS := target/$(TARGET)/release
FUZZ_SECONDS ?= 30

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing, by package name
	@scripts/setup.sh lab

setup-build:
	@scripts/setup.sh build

build: setup-build ## build the programs, optimized
	cargo build --locked --release --workspace --bins --exclude xtask

test: setup ## check format, lints and tidiness, and run all tests (as root)
	@scripts/test.sh

test-kernel: setup ## run tests under Debian's own kernel, emulated (scripts/kernel.sh says more)
	@scripts/kernel.sh

tidy: ## check walls between crates, sizes, error ids, generated files
	cargo xtask tidy

format: ## format the Rust files
	cargo fmt --all

lab: setup build ## a 3-node cluster on this machine, with the demo, tested, left running
	@scripts/lab.sh $(PROGRAMS)/seaway

lab-down: ## remove that cluster
	$(PROGRAMS)/seaway lab down

bench: setup build ## measure the pod network against the peers
	$(PROGRAMS)/seaway bench pod-network

fuzz: setup-build ## run each fuzz target for FUZZ_SECONDS
	@scripts/fuzz.sh $(FUZZ_SECONDS)
