# shellcheck shell=sh
# Shared by the scripts in this directory; sourced, after `top` was set to the
# top of the source tree.

TARGET=${TARGET:-armv7-unknown-linux-musleabihf}
BUILD=${BUILD:-$top/build}
case $BUILD in
/*) ;;
*) BUILD=$top/$BUILD ;;
esac

say() {
	printf '%s: %s\n' "${0##*/}" "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# True if the compiler $1 has the standard library for $TARGET, compiled.
has_target() {
	have "$1" || return 1
	set -- "$("$1" --print sysroot)/lib/rustlib/$TARGET/lib"/libstd-*.rlib
	[ -e "$1" ]
}

# True if the compiler $1 has the standard library's source, to build it for $TARGET.
has_library_source() {
	have "$1" && [ -e "$("$1" --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]
}

# Debian's compiler, kept apart from a rustup toolchain that comes first in PATH.
DEBIAN_RUSTC=${DEBIAN_RUSTC:-/usr/bin/rustc}
DEBIAN_CARGO=${DEBIAN_CARGO:-/usr/bin/cargo}

# True if some compiler here can build for $TARGET.
rust_can_build_arm() {
	has_target rustc || has_library_source rustc ||
		{ has_library_source "$DEBIAN_RUSTC" && have "$DEBIAN_CARGO"; }
}
