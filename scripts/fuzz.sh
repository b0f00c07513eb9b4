#!/bin/sh
# Fuzzes the targets in fuzz/, SECONDS_EACH (60) each, guided by coverage, with a stable compiler.
# What was found before is kept under $BUILD/fuzz and begun with. What crashes a target is
# written there, and ends the script.
#   fuzz.sh [TARGET...]
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BUILD/target}/fuzz
export CARGO_TARGET_DIR
[ $# -gt 0 ] || set -- before_login after_login key_files text_files words network

# What cargo-fuzz sets, without the sanitizers: the code under test has no unsafe in it.
RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
RUSTFLAGS=$(echo "$RUSTFLAGS" | tr -s '\n\t' '  ')
export RUSTFLAGS
# With --target the flags stay away from build scripts, which have no fuzzer to call.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --locked --release --target "$host" --manifest-path "$top/fuzz/Cargo.toml"

for target in "$@"; do
	corpus=$BUILD/fuzz/$target
	mkdir -p "$corpus"
	case $target in
	key_files) seeds="$top/ssh/tests/data $top/core/src/dropbear_key/testdata" ;;
	text_files) seeds="$top/packaging" ;;
	*) seeds= ;;
	esac
	log=$corpus.log
	echo "fuzz.sh: $target, ${SECONDS_EACH:-60} s"
	# shellcheck disable=SC2086 # a list
	if ! "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="${SECONDS_EACH:-60}" \
		-max_len=4096 -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$corpus." \
		"$corpus" $seeds >"$log" 2>&1; then
		tail -n 20 "$log"
		die "$target: see $log"
	fi
	tail -n 1 "$log"
done
