# Everything that is generated goes under BUILD.
BUILD ?= build
override BUILD := $(abspath $(BUILD))
CARGO_TARGET_DIR ?= $(BUILD)/target
TARGET = armv7-unknown-linux-musleabihf
export BUILD CARGO_TARGET_DIR

.DEFAULT_GOAL = help
.PHONY: help setup build arm size demo test test-quick test-arm measure fmt lint cross clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing (Debian, Ubuntu; elsewhere list it)
	@scripts/setup.sh

build: ## build for this machine
	cargo build --locked --release

arm: ## build the static ARMv7 binary, build/arm/reachback
	@scripts/setup.sh arm
	@scripts/build-arm.sh

size: arm ## print the ARM binary's size; fail above the limit
	@scripts/size.sh

demo: arm ## boot a controller and reach it through a tunnel; KEEP=1 stays up
	@python3 tests/arm/demo.py

test: ## everything: checks, host tests, ARM tests, one boot
	@scripts/test.sh all

test-quick: ## the host's part of the tests
	@scripts/test.sh quick

test-arm: arm ## one boot of the controller with the tests in it
	@python3 tests/arm/test_boot.py

measure: arm ## compare reachback with dbclient and ssh in one boot
	@python3 tests/arm/measure.py

fmt: ## format the Rust code
	cargo fmt --all

lint: ## clippy and shellcheck
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/lint-shell.sh

cross: ## build for ARM with cross (needs cross and a container engine)
	CROSS_CONFIG=cross.toml cross build --locked --release --target $(TARGET)

clean: ## remove everything generated
	rm -rf "$(BUILD)"
	cargo clean
