# Everything that is generated goes under BUILD.
BUILD ?= build
override BUILD := $(abspath $(BUILD))
CARGO_TARGET_DIR ?= $(BUILD)/target
TARGET = armv7-unknown-linux-musleabihf
export BUILD CARGO_TARGET_DIR

.DEFAULT_GOAL = help
.PHONY: help setup build arm aarch64 size bloat demo test test-quick test-arm bench man sim
.PHONY: test-aarch64 test-arm-years faults-table faults-slow faults-crowded faults-arm fleet soak idle-cost fuzz mutants systemd-check server-systemd
.PHONY: buildroot-check dist release-binaries fmt lint cross clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: ## install what is missing (Debian, Ubuntu; elsewhere list it)
	@scripts/setup.sh

build: ## build for this machine
	cargo build --locked --release

arm: ## build the static ARMv7 binary, build/arm/reachback
	@scripts/setup.sh arm
	@scripts/build-arm.sh

aarch64: ## build the static 64-bit ARM binary, build/aarch64/reachback
	@scripts/setup.sh aarch64
	@TARGET=aarch64-unknown-linux-musl scripts/build-arm.sh

size: arm ## print the ARM binary's size; fail above the limit
	@scripts/size.sh

bloat: arm ## print what the ARM binary's bytes are spent on
	@scripts/bloat.py

demo: arm ## boot a controller and reach it through a tunnel; also KEEP=1, OCPP=1, WALK=1 (README)
	@$(if $(OCPP),tests/ocpp/prepare.sh && OCPP=$(OCPP) $(BUILD)/ocpp/bin/python,python3) tests/arm/demo.py
	@$(if $(OCPP),$(BUILD)/ocpp/bin/python tests/arm/by_name.py)

test: ## everything: checks, host tests, ARM tests, two boots
	@scripts/test.sh all

sim: ## simulated faults: SEEDS=10000 schedules, or the one of SEED=17 with its log
	REACHBACK_SIM_SEEDS=$(SEEDS) REACHBACK_SIM_SEED=$(SEED) cargo test --locked --profile sim \
		-p reachback-sim --test schedules whatever -- --nocapture

test-quick: ## the host's part of the tests
	@scripts/test.sh quick

test-arm: arm ## one boot of the controller with the tests in it
	@python3 tests/arm/test_boot.py

systemd-check: arm ## the systemd units, in one boot of a controller with systemd
	@python3 tests/arm/test_systemd.py

server-systemd: ## server/setup in one boot of a Debian container with systemd, as root
	@cargo build --locked --bin reachback
	@python3 tests/server/booted.py

test-aarch64: aarch64 ## the integration tests on the 64-bit ARM binary under qemu-user
	@scripts/setup.sh host
	REACHBACK_BIN=$(BUILD)/aarch64/reachback REACHBACK_RUNNER=qemu-aarch64 \
		cargo test --locked --no-fail-fast -p reachback --test '*'

test-arm-years: arm ## the integration tests on the ARM binary in the YEARS (2040 2107)
	@scripts/setup.sh host
	for year in $(or $(YEARS),2040 2107); do \
		REACHBACK_BIN=$(BUILD)/arm/reachback \
		REACHBACK_RUNNER="$(CURDIR)/scripts/at-year.sh $$year qemu-arm" \
		cargo test --locked --no-fail-fast -p reachback --test '*' || exit; \
	done

bench: arm ## cost and speed beside dbclient and ssh; ROWS="speed delays": docs/performance.md
	@scripts/setup.sh host
	@scripts/setup.sh charts
	@ROWS="$(ROWS)" python3 tests/bench/bench.py

faults-table: ## inject every fault, beside dbclient and autossh: docs/faults.md
	@scripts/setup.sh compare
	@python3 scripts/faults-table.py faults

faults-slow: ## slow and lossy links, beside dbclient and autossh: docs/faults.md
	@scripts/setup.sh compare
	@python3 scripts/faults-table.py slow

faults-crowded: ## many short visits at once, beside ssh: docs/faults.md
	@scripts/setup.sh compare
	@python3 scripts/faults-table.py crowded

faults-arm: arm ## inject faults in one boot of the controller: docs/faults.md
	@python3 tests/arm/faults.py; status=$$?; python3 scripts/faults-table.py guest && exit $$status

fleet: ## a fleet at its server, beside autossh and a dbclient loop: docs/fleet.md (25 min)
	@scripts/setup.sh compare
	@scripts/fleet.py

soak: arm ## connect and kill SOAK_CYCLES (2000) times, fewer on the controller
	@python3 tests/arm/soak.py
	@python3 scripts/faults-table.py soak

fuzz: ## fuzz whatever reads foreign bytes, SECONDS_EACH (60) per target
	@scripts/fuzz.sh

idle-cost: ## bytes, packets and wake-ups of an idle tunnel: docs/faults.md
	@scripts/setup.sh compare
	@python3 scripts/faults-table.py idle

mutants: ## break the deciding code bit by bit; do its tests notice? docs/mutants.md
	@scripts/mutants.py

buildroot-check: ## check the Buildroot tree; with BUILDROOT=dir its own tools too
	@BUILDROOT="$(BUILDROOT)" scripts/buildroot-check.sh

dist: ## source archive, vendored archive, SBOM, licences, checksums: build/dist
	@scripts/dist.sh source

release-binaries: ## static programs for ARMv7 and AArch64 with checksums: build/dist
	@scripts/dist.sh binaries

man: ## make docs/man and packaging/completion.bash from the program's tables
	REACHBACK_WRITE_PAGES=1 cargo test --locked -p reachback --bins manual

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
