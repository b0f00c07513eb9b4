#!/bin/sh
# Runs the checks and tests and ends with a summary.
#   test.sh quick   what needs the host only
#   test.sh all     also the ARM binary under qemu-user, its size, and two boots
# A step that fails does not keep the others from running.
# shellcheck disable=SC2317  # the functions are called through step
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BUILD/target}
export CARGO_TARGET_DIR
what=${1:-all}
case $what in
quick | all) ;;
*) die "usage: test.sh [quick|all]" ;;
esac
cd "$top" || exit

summary=
failed=
started=$(date +%s)

# step NAME COMMAND...: runs one step and notes its outcome and duration.
step() {
	name=$1
	shift
	printf '\n=== %s\n' "$name"
	from=$(date +%s)
	if "$@"; then
		outcome=ok
	else
		outcome=FAILED
		failed=yes
	fi
	summary="$summary$(printf '%-8s%5d s  %s' "$outcome" $(($(date +%s) - from)) "$name")
"
	[ "$outcome" = ok ]
}

finish() {
	printf '\n=== Summary (%s, %d s)\n%s' "$what" $(($(date +%s) - started)) "$summary"
	if [ -n "$failed" ]; then
		printf 'NOT ALL PASSED\n'
		exit 1
	fi
	printf 'ALL PASSED\n'
	exit 0
}

# For whoever reads the code in a browser: also what is private, and no link that leads nowhere.
rustdoc() {
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --document-private-items --no-deps
}

licences() {
	python3 -m doctest scripts/deny.py scripts/integration.py scripts/bloat.py && scripts/deny.py
}

formatting() {
	# No members of the workspace; the peer's Cargo.toml names a path that is only there once
	# it was prepared.
	cargo fmt --all --check &&
		rustfmt --check --edition 2024 fuzz/targets/*.rs tests/peers/thrussh-server/src/*.rs
}

pure_crates() {
	cargo test --locked --no-fail-fast --workspace --exclude reachback && cargo test --locked -p reachback --bins
}

# What waits for real servers or a booted controller may lose a race on a loaded machine.
twice() {
	"$@" && return
	printf '\n=== once more: %s\n' "$*"
	"$@"
}

thrussh_peer() {
	tests/peers/thrussh-server/prepare.sh &&
		cargo build --locked --manifest-path tests/peers/thrussh-server/Cargo.toml
}

integration_host() {
	cargo build --locked --bin reachback &&
		REACHBACK_BIN=$CARGO_TARGET_DIR/debug/reachback scripts/integration.py
}

server_kit() {
	for test in tests/server/test_*.py; do
		REACHBACK_BIN=$CARGO_TARGET_DIR/debug/reachback python3 "$test" || return
	done
}

# ocpp PROGRAM [RUNNER]
ocpp() {
	tests/ocpp/prepare.sh &&
		REACHBACK_BIN=$1 REACHBACK_RUNNER=${2:-} "$BUILD/ocpp/bin/python" tests/ocpp/test_ocpp.py
}

integration_arm() {
	REACHBACK_BIN=$BUILD/arm/reachback REACHBACK_RUNNER=qemu-arm scripts/integration.py
}

if [ "$what" = quick ]; then
	step "setup" scripts/setup.sh host || finish
else
	step "setup" scripts/setup.sh || finish
fi
step "formatting" formatting
step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
step "fuzz targets, checked" cargo clippy --locked --manifest-path fuzz/Cargo.toml --no-default-features -- -D warnings
step "rustdoc, private items too" rustdoc
step "licences, sources and banned crates" licences
step "what the documents point at" scripts/lint-docs.py
step "the map of rooms in docs/architecture.md" scripts/rooms.py --check
step "shellcheck" scripts/lint-shell.sh
if step "thrussh server, a test peer" thrussh_peer; then
	export REACHBACK_THRUSSH_SERVER="$CARGO_TARGET_DIR/debug/thrussh-server"
fi
step "unit and property tests" pure_crates
step "integration tests, host binary" integration_host
step "the server's kit, on a real sshd" twice server_kit
step "OCPP 1.6J and 2.0.1, to a real sshd" twice ocpp "$CARGO_TARGET_DIR/debug/reachback"
step "Buildroot tree and installed files" twice scripts/buildroot-check.sh
if [ "$what" = all ]; then
	if step "ARM build" scripts/build-arm.sh; then
		step "size" scripts/size.sh
		step "integration tests, ARM binary under qemu-arm" integration_arm
		step "OCPP, ARM binary under qemu-arm" twice ocpp "$BUILD/arm/reachback" qemu-arm
		step "one boot of the controller" twice python3 tests/arm/test_boot.py
		step "the service, in a second boot" twice python3 tests/arm/test_service.py
	fi
fi
finish
