#!/bin/sh
# Checks the Buildroot tree and what it installs. Without Buildroot: shellcheck, Kconfig,
# the package's variables and own commands, and the installed files on a BusyBox device.
#   BUILDROOT   a Buildroot tree: checks with its own tools as well
#   STEPS       of those, which: check config info legal build (default: all; the last two
#               need its downloads, and build takes as long as a toolchain does), and, only
#               where it is named, image: the whole image of the defconfig, booted in QEMU
#   STANDINS=1  image without downloads but Debian's: buildroot-standins.sh; some 10 minutes
#   RUST_SRC    of the image: BR2_PACKAGE_REACHBACK_RUST_SRC
#   REACHBACK_BIN   the program for the device tests (default: the host's debug build)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"
export BUILD PYTHONDONTWRITEBYTECODE=1

venv=$BUILD/venv
venv_has() {
	"$venv/bin/python" -c "import $1" 2>/dev/null
}
venv_install() {
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv" || die "python3 -m venv failed: run 'make setup'"
	"$venv/bin/pip" install -q --disable-pip-version-check "$@" || die "pip could not install: $*"
}

cd "$top"
say "shellcheck of the init script and the custom scripts"
shellcheck packaging/S60reachback packaging/custom_script1.sh packaging/custom_script2.sh

if [ -z "${REACHBACK_BIN:-}" ]; then
	cargo build --locked --bin reachback
	REACHBACK_BIN=${CARGO_TARGET_DIR:-$BUILD/target}/debug/reachback
fi
export REACHBACK_BIN
venv_has kconfiglib || venv_install kconfiglib==14.1.0
"$venv/bin/python" tests/packaging/test_tree.py
"$venv/bin/python" tests/packaging/test_init.py
"$venv/bin/python" tests/packaging/test_at_boot.py
"$venv/bin/python" tests/packaging/test_restart.py

[ -n "${BUILDROOT:-}" ] || exit 0

# --- With Buildroot ---------------------------------------------------------------

[ -x "$BUILDROOT/utils/check-package" ] || die "BUILDROOT: $BUILDROOT is no Buildroot tree"
BUILDROOT=$(cd "$BUILDROOT" && pwd)
steps=" ${STEPS:-check config info legal build} "
out=$BUILD/buildroot
wants() {
	case $steps in *" $1 "*) say "Buildroot: $1" ;; *) return 1 ;; esac
}
buildroot() {
	make -C "$BUILDROOT" O="$out" BR2_EXTERNAL="$top/buildroot" "$@"
}

if wants check; then
	if ! venv_has magic || ! venv_has flake8; then
		venv_install python-magic flake8
	fi
	check() {
		checker=$1
		shift
		PATH="$venv/bin:$PATH" "$venv/bin/python" "$checker/utils/check-package" "$@"
	}
	# As an external tree, and as it would be in Buildroot itself: there the tool looks
	# only at files of the tree that it is in.
	# shellcheck disable=SC2046  # names without spaces
	check "$BUILDROOT" -b packaging/S60reachback $(find buildroot -type f)
	intree=$out/intree
	rm -rf "$intree"
	mkdir -p "$intree/package"
	cp -r "$BUILDROOT/utils" "$intree/"
	cp -r buildroot/package/reachback "$intree/package/"
	check "$intree" "$intree"/package/reachback/*
fi

defconfig=buildroot/configs/reachback_armv7_defconfig
if wants config; then
	buildroot reachback_armv7_defconfig >/dev/null
	# A symbol whose dependencies do not hold is lost without a word.
	grep -v '^# [A-Z].*[^t]$' "$defconfig" | grep '^BR2\|^# BR2' | while read -r line; do
		grep -qxF "$line" "$out/.config" || die "the defconfig's line is lost: $line"
	done
	buildroot savedefconfig BR2_DEFCONFIG="$out/saved" >/dev/null
	grep '^BR2\|^# BR2' "$defconfig" | sort >"$out/wanted"
	sort "$out/saved" | diff "$out/wanted" - || die "the defconfig is not minimal or not whole"
fi
[ -f "$out/.config" ] || buildroot reachback_armv7_defconfig >/dev/null

if wants info; then
	buildroot -s --no-print-directory show-info | "$venv/bin/python" -c '
import json, sys
found = json.load(sys.stdin)["reachback"]
assert found["license_files"] == ["LICENSE-MIT", "LICENSE-APACHE"], found
assert "host-rustc" in found["dependencies"], found
assert found["install_target"], found'
fi
if wants legal; then
	buildroot reachback-legal-info
	for file in LICENSE-MIT LICENSE-APACHE; do
		found=$(find "$out/legal-info/licenses" -path "*reachback*/$file")
		cmp "$found" "$top/$file"
	done
fi
if wants build; then
	buildroot reachback
	for file in usr/bin/reachback etc/init.d/S60reachback home/charge/custom_script1.sh etc/reachback/config; do
		[ -e "$out/target/$file" ] || die "not installed: $file"
	done
fi
if wants image; then
	if [ -n "${STANDINS:-}" ]; then
		"$top/scripts/buildroot-standins.sh" "$BUILDROOT"
		out=$BUILD/buildroot-standins
		mkdir -p "$out"
		defconfig=$BUILD/standins/fragment
	fi
	{
		cat "$defconfig"
		echo "BR2_PACKAGE_REACHBACK_RUST_SRC=\"${RUST_SRC:-}\""
	} >"$out/image_defconfig"
	buildroot defconfig BR2_DEFCONFIG="$out/image_defconfig" >/dev/null
	# What was built before is kept, but for the program: its source may be another.
	buildroot -s reachback-dirclean
	buildroot >"$out/build.log" 2>&1 || { tail -n 40 "$out/build.log" >&2 && die "the image's build: $out/build.log"; }
	say "the program: $(wc -c <"$out/target/usr/bin/reachback") bytes"
	python3 tests/packaging/test_image.py "$out/images"
fi
