#!/bin/sh
# Installs what building and testing need, and nothing that is there already.
#
#   setup.sh host   the host build and its tests against real SSH servers
#   setup.sh arm    the ARM build, qemu-user, and the emulated controller
#   setup.sh aarch64   the build for 64-bit ARM
#   setup.sh charts    what draws charts for the documents; no test needs it
#   setup.sh compare   what faults and fleets are measured with, beside other programs; charts too
#   setup.sh        the first two
#
# Debian and Ubuntu: through apt, as root or with sudo; no service is started.
# Elsewhere: lists what is missing and exits 1.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

what=${1:-all}
case $what in
host | arm | aarch64 | charts | compare | all) ;;
*) die "usage: setup.sh [host|arm|aarch64|charts|compare|all]" ;;
esac

# "command package": the command is what is looked for where apt is not at hand.
# An entry with "-" has no command of its own; only the package can be checked.
host_needs='
cc build-essential
make make
git git
python3 python3
curl curl
ip iproute2
ps procps
ssh openssh-client
/usr/sbin/sshd openssh-server
dropbear dropbear-bin
dropbearkey dropbear-bin
shellcheck shellcheck
busybox busybox-static
unshare util-linux
strace strace
puttygen putty-tools
- libfaketime
- python3-venv
nginx nginx-light
socat socat
tinyproxy tinyproxy
openssl openssl
pkg-config pkg-config
- libsodium-dev
'
# Packages; where the release has none, what wants it is skipped.
host_extras='chromium-headless-shell caddy fail2ban'
arm_needs='
cc build-essential
python3 python3
curl curl
xz xz-utils
file file
ssh openssh-client
/usr/sbin/sshd openssh-server
dropbearkey dropbear-bin
dpkg-source dpkg-dev
arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf
qemu-arm qemu-user
'
aarch64_needs='
cc build-essential
python3 python3
file file
dpkg-deb dpkg
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
qemu-aarch64 qemu-user
'
charts_needs='
- python3-matplotlib
'
compare_needs='
cc build-essential
python3 python3
ip iproute2
nft nftables
ps procps
ssh openssh-client
/usr/sbin/sshd openssh-server
dropbear dropbear-bin
dropbearkey dropbear-bin
autossh autossh
unshare util-linux
'
rust_packages='rustc-web cargo-web rust-web-src'

needs() {
	case $what in
	host) printf '%s' "$host_needs" ;;
	arm) printf '%s' "$arm_needs" ;;
	aarch64) printf '%s' "$aarch64_needs" ;;
	charts) printf '%s' "$charts_needs" ;;
	compare) printf '%s%s' "$compare_needs" "$charts_needs" ;;
	all) printf '%s%s' "$host_needs" "$arm_needs" ;;
	esac | sort -u
}

wants_arm() {
	case $what in host | charts | compare) return 1 ;; esac
}

# --- Rust ---------------------------------------------------------------------

check_rust() {
	if ! have cargo || ! have rustc; then
		die "no Rust toolchain found: install Rust 1.88 or newer (https://rustup.rs), then run this again"
	fi
	minor=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
	[ "${minor:-0}" -ge 88 ] || die "$(rustc --version) is too old: Rust 1.88 or newer is needed"
	case $what in arm | aarch64 | compare) return 0 ;; esac
	for component in clippy rustfmt; do
		case $component in
		clippy) command=clippy ;;
		*) command=fmt ;;
		esac
		cargo "$command" --version >/dev/null 2>&1 && continue
		if ! have rustup || ! rustup component add "$component"; then
			die "cargo $command does not work: install the component $component of your Rust toolchain"
		fi
	done
}

# --- Debian and Ubuntu ----------------------------------------------------------

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		die "root or sudo is needed to run: $*"
	fi
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_packages() {
	for package in $(needs | cut -s -d ' ' -f 2 | sort -u); do
		installed "$package" || printf '%s\n' "$package"
	done
}

missing_extras() {
	case $what in arm | aarch64 | charts | compare) return 0 ;; esac
	for package in $host_extras; do
		have "$package" || installed "$package" || ! available "$package" || printf '%s\n' "$package"
	done
}

# What packages would start at the next boot.
units_of() {
	case $1 in
	openssh-server) printf 'ssh.service ssh.socket' ;;
	nginx-light) printf 'nginx.service' ;;
	tinyproxy | caddy | fail2ban) printf '%s.service' "$1" ;;
	esac
}

# Keeps packages from starting their services. A policy that is there already is
# the owner's, and stays as it is.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
forbid_services() {
	[ ! -e "$policy" ] || return 0
	policy_is_ours=yes
	trap allow_services EXIT
	trap 'exit 130' INT TERM
	printf '#!/bin/sh\nexit 101\n' | as_root sh -c "cat >$policy && chmod 755 $policy"
}
allow_services() {
	[ -z "$policy_is_ours" ] || as_root rm -f "$policy"
	policy_is_ours=
}

# Another apt may be at work: packages wait for its lock by themselves, lists do not.
apt_update() {
	for _ in 1 2 3 4 5; do
		as_root apt-get update -q && return 0
		sleep 5
	done
	die "apt-get update failed"
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get install -q -y --no-install-recommends --no-remove \
		-o DPkg::Lock::Timeout=600 "$@"
}

available() {
	apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

install_packages() {
	missing=$(missing_packages)
	rust=
	if wants_arm && ! rust_can_build_arm; then
		rust=yes
	fi
	emulator=
	if wants_arm && [ "$what" != aarch64 ] && ! have qemu-system-arm && [ ! -x "$BUILD/host/usr/bin/qemu-system-arm" ]; then
		emulator=yes
	fi
	[ -n "$missing$rust$emulator$(missing_extras)" ] || return 0

	apt_update
	missing="$missing $(missing_extras)"
	# shellcheck disable=SC2086  # a list of package names
	say installing: $missing ${emulator:+qemu-system-arm} ${rust:+and the ARM standard library}
	forbid_services
	# shellcheck disable=SC2086  # a list of package names
	[ "$missing" = " " ] || apt_install $missing
	for package in $missing; do
		units=$(units_of "$package")
		if [ -n "$units" ] && have systemctl; then
			# shellcheck disable=SC2086  # a list of units
			as_root systemctl disable $units >/dev/null 2>&1 || true
			say "$package was installed for the tests only; its service is disabled"
		fi
	done
	[ -z "$emulator" ] || install_emulator
	[ -z "$rust" ] || install_arm_std
	allow_services
}

# Where another release's qemu packages are installed, apt could only put this one
# in their place. Then it is unpacked under $BUILD instead, with its libraries
# installed; the machine model used needs none of its data files.
install_emulator() {
	apt_install qemu-system-arm && return 0
	say "qemu-system-arm would replace other packages: unpacking it under $BUILD/host instead"
	libraries=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks \
		--no-replaces --no-enhances qemu-system-arm | sed -n 's/^  Depends: //p' |
		grep -v -e '^qemu-' -e '[<>]')
	# shellcheck disable=SC2086  # a list of package names
	apt_install $libraries
	mkdir -p "$BUILD/host"
	(cd "$BUILD/host" && apt-get download -q qemu-system-arm && dpkg -x qemu-system-arm_*.deb .)
	rm -f "$BUILD"/host/*.deb
	"$BUILD/host/usr/bin/qemu-system-arm" --version >/dev/null ||
		die "the unpacked qemu-system-arm does not run"
}

# Debian's compiler with the library's source makes the smaller binary, and works
# where rustup's server cannot be reached. It does not go beside packaged rustup,
# so --no-remove makes apt refuse, and rustup is asked.
install_arm_std() {
	# shellcheck disable=SC2086  # a list of package names
	if available rust-web-src && apt_install $rust_packages && rust_can_build_arm; then
		return 0
	fi
	if have rustup && rustup target add "$TARGET" && has_target rustc; then
		rustup component add rust-src || say "without rust-src the ARM program is larger"
		return 0
	fi
	die "no standard library for $TARGET: install $rust_packages (Debian), or run: rustup target add $TARGET"
}

# --- Other systems --------------------------------------------------------------

list_needs() {
	missing=
	for command in $(needs | cut -d ' ' -f 1 | sort -u); do
		case $command in
		-) ;;
		*) have "$command" || missing="$missing $command" ;;
		esac
	done
	case $what in
	host | all)
		pkg-config --exists libsodium 2>/dev/null || missing="$missing libsodium"
		set -- /usr/lib/*/faketime/libfaketime.so.1
		[ -e "$1" ] || missing="$missing libfaketime"
		;;
	esac
	if wants_arm && ! rust_can_build_arm; then
		missing="$missing rust-std-$TARGET"
	fi
	for command in qemu-system-arm apt-get; do
		! wants_arm || [ "$what" = aarch64 ] || have "$command" || missing="$missing $command"
	done
	case $what in charts | compare) python3 -c 'import matplotlib' 2>/dev/null || missing="$missing matplotlib" ;; esac
	[ -n "$missing" ] || return 0
	printf 'This is not Debian or Ubuntu, so nothing was installed. Missing here:\n' >&2
	for name in $missing; do
		case $name in
		libfaketime) note='in /usr/lib/*/faketime' ;;
		puttygen) note='from PuTTY' ;;
		matplotlib) note='the Python package' ;;
		libsodium) note='library with headers, found by pkg-config (for a test peer)' ;;
		dropbear | dropbearkey) note='from Dropbear' ;;
		arm-linux-gnueabihf-gcc) note='C cross compiler for ARMv7 hard float' ;;
		rust-std-*) note="rustup target add $TARGET" ;;
		apt-get | dpkg-source) note='used unprivileged, to fetch armhf packages for the controller image' ;;
		*) note= ;;
		esac
		printf '  %-26s %s\n' "$name" "$note" >&2
	done
	exit 1
}

[ "$what" = charts ] || check_rust
if have apt-get && have dpkg-query; then
	install_packages
else
	list_needs
fi
say "everything needed for '$what' is installed"
