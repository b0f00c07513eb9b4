#!/bin/sh
# Makes what Buildroot would download for reachback_armv7_defconfig out of Debian's packages,
# for a machine that reaches a Debian mirror only. Under $BUILD/standins:
#   dl          archives that Debian has unchanged, under Buildroot's names and hashes
#   toolchain   Debian's cross gcc with a musl sysroot, as an external toolchain
#   rust        Debian's Rust with a compiled library for ARM, laid out as rust-bin's archive
#   fakeroot, patchelf, tar, musl-compat-headers   host tools and a header of this machine
#   local.mk    leads Buildroot to them (BR2_PACKAGE_OVERRIDE_FILE)
#   fragment    the configuration, in the place of the defconfig's toolchain and kernel
# What is not a stand-in is Buildroot's own: the skeleton, BusyBox, Dropbear, reachback, the
# root file system.
#   buildroot-standins.sh BUILDROOT
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"
buildroot=${1:?usage: buildroot-standins.sh BUILDROOT}
out=$BUILD/standins
rust_target=armv7-unknown-linux-musleabihf
gnu=arm-linux-gnueabihf
mkdir -p "$out"

# --- Archives ---------------------------------------------------------------------

python3 "$top/scripts/debian-archive.py" "$out/dl" "$buildroot/package/busybox/busybox.hash" \
	"$buildroot/package/dropbear/dropbear.hash" "$buildroot/package/musl/musl.hash"
for package in busybox dropbear musl; do
	[ -d "$out/dl/$package" ] || die "Debian has no longer the version of $package that this Buildroot builds"
done

# --- Toolchain ----------------------------------------------------------------------

toolchain=$out/toolchain
sysroot=$toolchain/sysroot
make_sysroot() {
	[ ! -e "$sysroot/usr/lib/libc.a" ] || return 0
	work=$(mktemp -d)
	tar -C "$work" --strip-components=1 -xf "$out"/dl/musl/musl-*.tar.gz
	(
		cd "$work"
		./configure --target=arm-linux-musleabihf --prefix=/usr --syslibdir=/lib CC="$gnu-gcc" \
			CROSS_COMPILE="$gnu-" CFLAGS='-Os -marm -march=armv7-a+fp' >/dev/null
		make -s -j2 >/dev/null 2>&1
		make -s DESTDIR="$sysroot.new" install >/dev/null
	)
	python3 "$top/scripts/armhf-packages.py" unpack "$work/headers" linux-libc-dev
	cp -r "$work"/headers/usr/include/. "$sysroot.new/usr/include/"
	cp -r "$sysroot.new/usr/include/$gnu"/. "$sysroot.new/usr/include/"
	rm -rf "${sysroot:?}/" "$sysroot.new/usr/include/$gnu" "$work"
	mv "$sysroot.new" "$sysroot"
}

# gcc specs as musl's own, but with the sysroot of the command line (%R).
make_compiler() {
	cat >"$toolchain/musl.specs" <<'EOF'
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem %R/usr/include -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem %R/usr/include -isystem include%s

*link_libgcc:
-L%R/usr/lib -L%R/lib -L .%s

*libgcc:
libgcc.a%s libgcc_eh.a%s

*startfile:
%{!shared:%R/usr/lib/Scrt1.o} %R/usr/lib/crti.o crtbeginS.o%s

*endfile:
crtendS.o%s %R/usr/lib/crtn.o

*link:
-dynamic-linker /lib/ld-musl-armhf.so.1 -nostdlib %{shared:-shared} %{static:-static} %{rdynamic:-export-dynamic}

*esp_link:


*esp_options:


*esp_cpp_options:


EOF
	mkdir -p "$toolchain/bin"
	for tool in ar as ld nm objcopy objdump ranlib readelf strip gcc-ar gcc-nm gcc-ranlib strings; do
		ln -sf "$(command -v "$gnu-$tool")" "$toolchain/bin/arm-linux-musleabihf-$tool"
	done
	cat >"$toolchain/bin/arm-linux-musleabihf-gcc" <<EOF
#!/bin/sh
sysroot=$sysroot
before=
for word; do
	case \$before,\$word in
	*,--sysroot=*) sysroot=\${word#--sysroot=} ;;
	--sysroot,*) sysroot=\$word ;;
	*,-print-sysroot) echo "\$sysroot" && exit ;;
	*,-print-file-name=libc.a) echo "\$sysroot/usr/lib/libc.a" && exit ;;
	*,-dumpmachine) echo arm-linux-musleabihf && exit ;;
	esac
	before=\$word
done
# Buildroot refuses a distribution's compiler for its headers and libraries: the specs
# leave none of them.
if [ "\$*" = -v ]; then
	$gnu-gcc -v 2>&1 | sed 's| --with-sysroot=/ | |' >&2
	exit
fi
exec $gnu-gcc --sysroot="\$sysroot" "\$@" -specs $toolchain/musl.specs
EOF
	chmod +x "$toolchain/bin/arm-linux-musleabihf-gcc"
	printf '#!/bin/sh\nexec %s-gcc -E "$@"\n' "$toolchain/bin/arm-linux-musleabihf" \
		>"$toolchain/bin/arm-linux-musleabihf-cpp"
	chmod +x "$toolchain/bin/arm-linux-musleabihf-cpp"
	# Buildroot asks for C++ with musl, and nothing in this image is written in it.
	ln -sf arm-linux-musleabihf-gcc "$toolchain/bin/arm-linux-musleabihf-g++"
}

mkdir -p "$toolchain"
make_sysroot
make_compiler

# --- Host packages: a directory with a program `put` that installs into a prefix --------

# standin NAME: makes NAME's directory; its `put` is read from standard input.
standin() {
	mkdir -p "$out/$1"
	{ echo "#!/bin/sh -eu" && cat; } >"$out/$1/put"
	chmod +x "$out/$1/put"
}

have fakeroot || die "fakeroot is not installed"
standin fakeroot <<'EOF'
cp "$(readlink -f "$(command -v fakeroot)")" "$1/bin/fakeroot"
EOF

have tar || die "no tar"
# Buildroot's own is at least 1.35, for device numbers in a .tar; nothing here has one.
standin tar <<'EOF'
ln -sf "$(command -v tar)" "$1/bin/tar"
EOF

# For the host directory's own programs: with it, they could be moved elsewhere.
standin patchelf <<'EOF'
ln -sf /bin/true "$1/bin/patchelf"
EOF

queue=$(find /usr/include -path '*/sys/queue.h' | head -1)
[ -n "$queue" ] || die "no sys/queue.h under /usr/include"
mkdir -p "$out/musl-compat-headers"
cp "$queue" "$buildroot/package/musl-compat-headers/cdefs.h" "$out/musl-compat-headers/"

# --- Rust ---------------------------------------------------------------------------

rust=$out/rust
sysroot_of_rust=$("$DEBIAN_RUSTC" --print sysroot)
host=$("$DEBIAN_RUSTC" -vV | sed -n 's/^host: //p')

# Compiled for speed and with its bitcode, as Rust's own: not with our profile.
make_library() {
	library=$rust/lib/rustlib/$rust_target/lib
	[ ! -e "$library" ] || return 0
	work=$(mktemp -d)
	mkdir -p "$work/src"
	: >"$work/src/lib.rs"
	cat >"$work/Cargo.toml" <<'EOF'
[package]
name = "library"
edition = "2024"
[workspace]
[profile.release]
codegen-units = 1
EOF
	# This one crate has the other panic strategy.
	cat >"$work/rustc" <<EOF
#!/bin/sh
case "\$*" in *'--crate-name panic_abort '*) set -- "\$@" -C panic=abort ;; esac
exec $DEBIAN_RUSTC "\$@"
EOF
	chmod +x "$work/rustc"
	(
		cd "$work"
		RUSTC_BOOTSTRAP=1 RUSTC=$work/rustc RUSTFLAGS='-C embed-bitcode=yes' \
			CARGO_TARGET_DIR=$work/target "$DEBIAN_CARGO" build --quiet --release --target "$rust_target" \
			-Zbuild-std=std,panic_unwind,panic_abort,proc_macro -Zbuild-std-features=backtrace
	)
	mkdir -p "$library.new/self-contained"
	cp "$work/target/$rust_target"/release/deps/*.rlib "$library.new/"
	rm -f "$library.new"/liblibrary-*.rlib
	for file in crt1.o rcrt1.o crti.o crtn.o libc.a; do
		cp "$sysroot/usr/lib/$file" "$library.new/self-contained/"
	done
	for file in crtbegin.o crtbeginS.o crtend.o crtendS.o; do
		cp "$("$gnu-gcc" -print-file-name=$file)" "$library.new/self-contained/"
	done
	printf 'INPUT(-lgcc_eh -lgcc)\n' >"$library.new/self-contained/libunwind.a"
	rm -rf "$work"
	mv "$library.new" "$library"
}

mkdir -p "$rust/lib/rustlib"
make_library
cp -rl "$sysroot_of_rust/lib/rustlib/$host" "$rust/lib/rustlib/" 2>/dev/null ||
	cp -r "$sysroot_of_rust/lib/rustlib/$host" "$rust/lib/rustlib/"
cat >"$rust/install.sh" <<EOF
#!/bin/sh -eu
prefix=\${1#--prefix=}
mkdir -p "\$prefix/bin" "\$prefix/lib"
cp -r "$rust/lib/rustlib" "\$prefix/lib/"
printf '#!/bin/sh\nexec $DEBIAN_RUSTC --sysroot "%s" "\$@"\n' "\$prefix" >"\$prefix/bin/rustc"
printf '#!/bin/sh\nexport RUSTC=%s\nexec $DEBIAN_CARGO "\$@"\n' "\$prefix/bin/rustc" >"\$prefix/bin/cargo"
chmod +x "\$prefix/bin/rustc" "\$prefix/bin/cargo"
EOF
chmod +x "$rust/install.sh"

# --- How Buildroot is led to them -------------------------------------------------------

{
	printf 'STANDINS = %s\n' "$out"
	for name in fakeroot tar patchelf; do
		NAME=HOST_$(printf '%s' "$name" | tr '[:lower:]' '[:upper:]')
		cat <<EOF
${NAME}_OVERRIDE_SRCDIR = \$(STANDINS)/$name
override ${NAME}_AUTORECONF = NO
override ${NAME}_LIBTOOL_PATCH = NO
override ${NAME}_DEPENDENCIES = host-skeleton
override ${NAME}_POST_PATCH_HOOKS =
${NAME}_CONFIGURE_CMDS = :
${NAME}_BUILD_CMDS = :
${NAME}_INSTALL_CMDS = mkdir -p \$(HOST_DIR)/bin && \$(@D)/put \$(HOST_DIR)
EOF
	done
	cat <<'EOF'
override MUSL_COMPAT_HEADERS_EXTRA_DOWNLOADS =
override MUSL_COMPAT_HEADERS_EXTRACT_CMDS = cp $(STANDINS)/musl-compat-headers/*.h $(@D)/
HOST_RUST_BIN_OVERRIDE_SRCDIR = $(STANDINS)/rust
override HOST_RUST_BIN_INSTALL_LIBSTD_TARGET =
EOF
} >"$out/local.mk"

version_code=$(sed -n 's/^#define LINUX_VERSION_CODE //p' "$sysroot/usr/include/linux/version.h")
{
	grep -v -e TOOLCHAIN -e LINUX_KERNEL "$top/buildroot/configs/reachback_armv7_defconfig"
	cat <<EOF
BR2_DL_DIR="$out/dl"
BR2_PACKAGE_OVERRIDE_FILE="$out/local.mk"
BR2_TOOLCHAIN_EXTERNAL=y
BR2_TOOLCHAIN_EXTERNAL_CUSTOM=y
BR2_TOOLCHAIN_EXTERNAL_PATH="$toolchain"
BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="arm-linux-musleabihf"
BR2_TOOLCHAIN_EXTERNAL_GCC_$("$gnu-gcc" -dumpversion | cut -d . -f 1)=y
BR2_TOOLCHAIN_EXTERNAL_HEADERS_$((version_code >> 16))_$((version_code >> 8 & 255))=y
BR2_TOOLCHAIN_EXTERNAL_CUSTOM_MUSL=y
BR2_TOOLCHAIN_EXTERNAL_CXX=y
EOF
} >"$out/fragment"
say "stand-ins are ready under $out"
