#!/bin/sh
# Builds a static musl binary, $BUILD/DIR/reachback. Where the standard library is built as
# well, reachback.debug beside it is the same with its symbols and lines.
#   TARGET=armv7-unknown-linux-musleabihf   DIR arm (default)
#   TARGET=aarch64-unknown-linux-musl       DIR aarch64
#
# The compiler in PATH is taken if it has the target's standard library (rustup target
# add ...) or that library's source (rustup component add rust-src), else Debian's, whose
# source is in rust-web-src. A standard library built from source, for size, saves a third
# of the program; REACHBACK_BUILD_STD=0 takes the installed one nevertheless.
#
# Where the standard library is built, the AArch64 program is position-independent, and with
# REACHBACK_PIE=1 the ARMv7 one as well, its constants apart from its code: 17 kB more
# (docs/decisions/0008).
#
# ARM_CC (AARCH64_CC) names the C cross compiler. Default: arm-linux-musleabihf-gcc
# (aarch64-linux-musl-gcc), and where there is none, arm-linux-gnueabihf-gcc
# (aarch64-linux-gnu-gcc) with Debian's musl, unpacked under $BUILD/musl (musl-arm64).
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BUILD/target}
export CARGO_TARGET_DIR

case $TARGET in
armv7-unknown-linux-musleabihf)
	dir=arm
	cc=${ARM_CC:-}
	musl_cc=arm-linux-musleabihf-gcc
	gnu_cc=arm-linux-gnueabihf-gcc
	musl=$BUILD/musl
	debian=armhf
	emulator=qemu-arm
	elf='ELF 32-bit*ARM'
	# Thumb code is about a quarter smaller than ARM code.
	feature=+thumb-mode
	# The crate aes takes ARMv7 for a machine of 64 bits, and unrolls its rounds: 8 kB more.
	flags='--cfg aes_backend_soft="compact" --cfg cpubits="32"'
	pie=${REACHBACK_PIE:-0}
	[ "$pie" = 0 ] || flags="$flags -C link-arg=-Wl,-z,separate-code"
	;;
aarch64-unknown-linux-musl)
	dir=aarch64
	cc=${AARCH64_CC:-}
	musl_cc=aarch64-linux-musl-gcc
	gnu_cc=aarch64-linux-gnu-gcc
	musl=$BUILD/musl-arm64
	debian=arm64
	emulator=qemu-aarch64
	elf='ELF 64-bit*ARM aarch64'
	feature=
	flags=
	pie=1
	;;
*) die "TARGET: $TARGET is none of armv7-unknown-linux-musleabihf, aarch64-unknown-linux-musl" ;;
esac

# Debian's musl, but with every path in its gcc specs led to where it was unpacked, and with
# static PIE, which they do not know.
make_cross_compiler() {
	cc=$musl/bin/$musl_cc
	if [ -x "$cc" ] && grep -q static-pie "$musl/gcc.specs"; then
		return
	fi
	have "$gnu_cc" || die "no C cross compiler for $TARGET: install $gnu_cc, or set ARM_CC or AARCH64_CC"
	DEBIAN_ARCH=$debian python3 "$top/scripts/armhf-packages.py" unpack "$musl" musl-dev
	specs=$(find "$musl/usr/lib" -name musl-gcc.specs)
	sed -e 's|\(/[^ ]*/\)Scrt1.o|%{static-pie:\1rcrt1.o;:\1Scrt1.o}|' \
		-e 's|^-dynamic-linker [^ ]*|%{static-pie:-static -pie --no-dynamic-linker -z text;:&}|' \
		-e "s|/usr/|$musl/usr/|g" "$specs" >"$musl/gcc.specs"
	mkdir -p "$musl/bin"
	printf '#!/bin/sh\nexec %s "$@" -specs "%s"\n' "$gnu_cc" "$musl/gcc.specs" >"$cc.new"
	chmod +x "$cc.new"
	mv "$cc.new" "$cc"
}

if [ -n "$cc" ]; then
	have "$cc" || die "C cross compiler: $cc not found"
elif have "$musl_cc"; then
	cc=$musl_cc
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
name=$(printf '%s' "$TARGET" | tr - _)
NAME=$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
export "CC_$name=$cc"
export "CARGO_TARGET_${NAME}_LINKER=$cc"
if ! has_target "$rustc"; then
	# The source brings no start-up files, libc or unwinder, as an installed library
	# does: they come from the cross compiler, whose unwinder goes by the name of gcc_eh.
	mkdir -p "$musl/unwind"
	printf 'INPUT(-lgcc_eh -lgcc)\n' >"$musl/unwind/libunwind.a"
	flags="$flags -C link-self-contained=no -L native=$musl/unwind"
fi

mkdir -p "$BUILD/$dir"
target=$TARGET
if [ "$library" = source ]; then
	export RUSTC_BOOTSTRAP=1
	target=$BUILD/$dir/$TARGET.json
	"$rustc" -Zunstable-options --print target-spec-json --target "$TARGET" |
		sed '/"is-builtin":/d' >"$target"
	if [ -n "$feature" ]; then
		# rustc warns of a feature that the command line adds, not of one that the target has.
		sed -i "s/\"features\": \"/&$feature,/" "$target"
	fi
	if [ "$pie" = 1 ]; then
		independent='"position-independent-executables": true,'
		sed -i "s/$independent/& \"static-${independent#\"}/" "$target"
	fi
elif [ -n "$feature" ]; then
	flags="$flags -C target-feature=$feature"
fi

set -- build --locked --release --bin reachback --target "$target"
if [ "$library" = source ]; then
	if "$cargo" -Zhelp | grep -q json-target-spec; then
		set -- "$@" -Zjson-target-spec
	fi
	set -- "$@" -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
	# Nothing is printed by Debug (clippy::use_debug is denied), so its code may go: 12 kB.
	flags="$flags -Zfmt-debug=none"
	# A panic ends the process: nobody unwinds, and nobody prints (docs/decisions/0007). Rust
	# before 1.91 does not have it.
	flags="$flags -C force-unwind-tables=no"
	immediate='-Zunstable-options -C panic=immediate-abort'
	# shellcheck disable=SC2086  # words
	if "$rustc" $immediate --print cfg >"$BUILD/$dir/cfg" 2>&1; then
		flags="$flags $immediate"
	fi
	# For addr2line(1); stripped below.
	export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none
fi
# Unlike CARGO_TARGET_..._RUSTFLAGS, this one is not added to those of .cargo/config.toml.
export RUSTFLAGS="$flags"
say "building with $("$rustc" --version), standard library: $library"
cd "$top"
log=$BUILD/$dir/cargo.log
rm -f "$log.done"
{ CARGO_TERM_COLOR=never RUSTC=$rustc "$cargo" "$@" && : >"$log.done"; } 2>&1 | tee "$log"
[ -e "$log.done" ] || exit 1
# A thumb-mode that the command line adds cannot be had without a warning.
if [ "$library" = source ] || [ -z "$feature" ]; then
	! grep -q '^warning' "$log" || die "the build has warnings: $log"
fi

binary=$BUILD/$dir/reachback
printf '%s\n' "$library" >"$BUILD/$dir/library"
made=$CARGO_TARGET_DIR/$TARGET/release/reachback
rm -f "$binary" "$binary.debug"
if [ "$library" = source ]; then
	ln -s "$made" "$binary.debug"
	"$("$cc" -print-prog-name=strip)" -o "$binary" "$made"
else
	ln -s "$made" "$binary"
fi

kind=$(file -L "$binary")
# shellcheck disable=SC2254  # a pattern
case $kind in
*$elf*'statically linked'* | *$elf*'static-pie linked'*) ;;
*) die "not a static program for $TARGET: $kind" ;;
esac
if have "$emulator"; then
	"$emulator" "$binary" --version >/dev/null || die "the program does not run under $emulator"
fi
say "built $binary, $(wc -c <"$binary") bytes"
