#!/bin/sh
# Makes what a release consists of, under $BUILD/dist.
#   dist.sh source     the source archive of a commit, the same with its crates vendored as
#                      Buildroot's cargo6 format has them, SBOM, licence list, checksums
#   dist.sh binaries   the static programs for ARMv7 and AArch64 with their checksums
#   REV   the commit for `source` (default: HEAD); what is not committed is not in it
# The same commit, cargo, tar and gzip give the same bytes.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"
cd "$top"
rev=${REV:-HEAD}
dist=$BUILD/dist

# The one place of the version is [workspace.package] in Cargo.toml.
version_of() {
	sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p'
}

checksums() {
	rm -f "$dist/SHA256SUMS"
	(cd "$dist" && sha256sum -- *) >"$BUILD/SHA256SUMS"
	mv "$BUILD/SHA256SUMS" "$dist/"
}

# An archive as Buildroot's support/download/helpers makes it: pax, sorted, no owners.
#   pack DIRECTORY NAME EPOCH_S ARCHIVE
pack() {
	date=$(date -d "@$3" -u +%Y-%m-%dT%H:%M:%S+00:00)
	pax="delete=atime,delete=ctime,delete=mtime,exthdr.name=%d/PaxHeaders/%f,exthdr.mtime={$date}"
	list=$(mktemp)
	(
		cd "$1"
		find . -not -type d | LC_ALL=C sort >"$list"
		tar cf - --transform="s#^\./#$2/#S" --numeric-owner --owner=0 --group=0 \
			--mtime="$date" --format=posix --pax-option="$pax" --mode='go=u,go-w' -T "$list"
	) | gzip -6 -n >"$4"
	rm -f "$list"
}

source_archives() {
	version=$(git show "$rev:Cargo.toml" | version_of)
	[ -n "$version" ] || die "no version in Cargo.toml"
	packaged=$(git show "$rev:buildroot/package/reachback/reachback.mk" | sed -n 's/^REACHBACK_VERSION = //p')
	[ "$packaged" = "$version" ] || die "reachback.mk says $packaged, Cargo.toml $version"
	git show "$rev:CHANGELOG.md" | grep -q "^## \($version\|Unreleased\)" ||
		die "CHANGELOG.md has neither $version nor Unreleased"
	[ "$rev" != HEAD ] || git diff --quiet HEAD || say "note: what is not committed is not in the archive"
	name=reachback-$version
	epoch_s=$(git log -1 --format=%ct "$rev")

	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT INT TERM
	git archive --format=tar --prefix="$name/" "$rev" >"$work/$name.tar"
	gzip -9 -n <"$work/$name.tar" >"$dist/$name.tar.gz"
	tar -C "$work" -xf "$work/$name.tar"
	(
		cd "$work/$name"
		mkdir -p .cargo
		cargo vendor --manifest-path Cargo.toml --locked VENDOR >.cargo/config.toml 2>"$work/vendor.log" ||
			{ cat "$work/vendor.log" >&2 && exit 1; }
	)
	pack "$work/$name" "$name" "$epoch_s" "$dist/$name-cargo6.tar.gz"
	(cd "$work/$name" && python3 scripts/deny.py)
	(cd "$work/$name" && python3 scripts/sbom.py cyclonedx "$TARGET" "$epoch_s") >"$dist/$name.cdx.json"
	(cd "$work/$name" && python3 scripts/sbom.py licences "$TARGET") >"$dist/$name-licences.txt"

	# The archive is whole: it builds without a network, from its own crates only.
	(cd "$work/$name" && CARGO_TARGET_DIR=$work/target CARGO_HOME=$work/cargo-home \
		cargo check --quiet --offline --locked --bin reachback) || die "the archive does not build offline"
	say "for a release's reachback.hash:"
	(cd "$dist" && sha256sum "$name-cargo6.tar.gz" | sed 's/^/sha256  /')
}

binaries() {
	version=$(version_of <Cargo.toml)
	for target in armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl; do
		case $target in armv7*) dir=arm ;; *) dir=aarch64 ;; esac
		scripts/setup.sh "$dir"
		TARGET=$target scripts/build-arm.sh
		install -m 0755 "$BUILD/$dir/reachback" "$dist/reachback-$version-$target"
	done
}

mkdir -p "$dist"
case ${1:-} in
source) source_archives ;;
binaries) binaries ;;
*) die "usage: dist.sh source|binaries" ;;
esac
checksums
cat "$dist/SHA256SUMS"
