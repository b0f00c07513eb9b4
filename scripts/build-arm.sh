#!/bin/sh
# Builds the static ARMv7 binary and links it as $BUILD/arm/reachback.
#
# The compiler in PATH is taken if it has the target's standard library (rustup target
# add ...) or that library's source (rustup component add rust-src), else Debian's, whose
# source is in rust-web-src. A standard library built from source, for size, saves a third
# of the program; REACHBACK_BUILD_STD=0 takes the installed one nevertheless.
#
# ARM_CC names the C cross compiler. Default: arm-linux-musleabihf-gcc, and where there
# is none, arm-linux-gnueabihf-gcc with Debian's musl, unpacked under $BUILD/musl.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BUILD/target}
export CARGO_TARGET_DIR

# Debian's musl, but with every path in its gcc specs led to where it was unpacked.
make_cross_compiler() {
	musl=$BUILD/musl
	cc=$musl/bin/arm-linux-musleabihf-gcc
	[ ! -x "$cc" ] || return 0
	have arm-linux-gnueabihf-gcc ||
		die "no C cross compiler for ARM: run 'make setup', or set ARM_CC"
	python3 "$top/scripts/armhf-packages.py" unpack "$musl" musl-dev
	sed "s|/usr/|$musl/usr/|g" "$musl/usr/lib/arm-linux-musleabihf/musl-gcc.specs" >"$musl/gcc.specs"
	mkdir -p "$musl/bin"
	printf '#!/bin/sh\nexec arm-linux-gnueabihf-gcc "$@" -specs "%s"\n' "$musl/gcc.specs" >"$cc.new"
	chmod +x "$cc.new"
	mv "$cc.new" "$cc"
}

if [ -n "${ARM_CC:-}" ]; then
	have "$ARM_CC" || die "ARM_CC: $ARM_CC not found"
	cc=$ARM_CC
elif have arm-linux-musleabihf-gcc; then
	cc=arm-linux-musleabihf-gcc
else
	make_cross_compiler
fi

if has_target rustc || has_library_source rustc; then
	rustc=rustc
	cargo=cargo
elif has_library_source "$DEBIAN_RUSTC" && have "$DEBIAN_CARGO"; then
	rustc=$DEBIAN_RUSTC
	cargo=$DEBIAN_CARGO
else
	die "no Rust for $TARGET: run 'make setup'"
fi
if has_library_source "$rustc"; then
	library=source
else
	library=installed
fi
if [ "${REACHBACK_BUILD_STD:-1}" = 0 ]; then
	has_target "$rustc" || die "REACHBACK_BUILD_STD=0, but $rustc has no library for $TARGET"
	library=installed
fi

# ring compiles C and assembly.
export CC_armv7_unknown_linux_musleabihf="$cc"
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_LINKER="$cc"
# Thumb code is about a quarter smaller than ARM code.
flags='-C target-feature=+thumb-mode'
if ! has_target "$rustc"; then
	# The source brings no start-up files, libc or unwinder, as an installed library
	# does: they come from the cross compiler, whose unwinder goes by the name of gcc_eh.
	mkdir -p "$BUILD/musl/unwind"
	printf 'INPUT(-lgcc_eh -lgcc)\n' >"$BUILD/musl/unwind/libunwind.a"
	flags="$flags -C link-self-contained=no -L native=$BUILD/musl/unwind"
fi
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_RUSTFLAGS="$flags"

set -- build --locked --release --bin reachback --target "$TARGET"
if [ "$library" = source ]; then
	set -- "$@" -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
	export RUSTC_BOOTSTRAP=1
fi
say "building with $("$rustc" --version), standard library: $library"
cd "$top"
RUSTC=$rustc "$cargo" "$@"

mkdir -p "$BUILD/arm"
printf '%s\n' "$library" >"$BUILD/arm/library"
ln -sfn "$CARGO_TARGET_DIR/$TARGET/release/reachback" "$BUILD/arm/reachback"

case $(file -L "$BUILD/arm/reachback") in
*'ELF 32-bit'*ARM*'statically linked'* | *'ELF 32-bit'*ARM*'static-pie linked'*) ;;
*) die "not a static ARM program: $(file -L "$BUILD/arm/reachback")" ;;
esac
if have qemu-arm; then
	qemu-arm "$BUILD/arm/reachback" --version >/dev/null || die "the program does not run under qemu-arm"
fi
say "built $BUILD/arm/reachback, $(wc -c <"$BUILD/arm/reachback") bytes"
