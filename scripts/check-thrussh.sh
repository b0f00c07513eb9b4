#!/bin/sh
# Shows that thrussh's client never takes a forwarded connection: the source of the given
# releases (default: the newest) has no dispatch of SSH_MSG_CHANNEL_OPEN in the client,
# while its server has one. Sources come through cargo. docs/decisions/0001 cites this.
set -eu

[ $# -gt 0 ] || set -- 0.49.0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
status=0
for version in "$@"; do
	rm -rf "$dir/crate"
	mkdir -p "$dir/crate/src"
	: >"$dir/crate/src/lib.rs"
	cat >"$dir/crate/Cargo.toml" <<-EOF
		[package]
		name = "check"
		version = "0.0.0"
		edition = "2021"
		[dependencies]
		thrussh = { version = "=$version", default-features = false }
		[workspace]
	EOF
	source=$(cd "$dir/crate" && cargo metadata --format-version 1 2>"$dir/error" |
		tr ',' '\n' | sed -n 's|.*"manifest_path":"\(.*/thrussh-[0-9][^"]*\)/Cargo.toml".*|\1|p' | head -n 1)
	if [ -z "$source" ]; then
		sed 's/^/  /' "$dir/error" >&2
		echo "thrussh $version: not available" >&2
		exit 1
	fi
	arms() { find "$source/src" -path "*/$1*" -name '*.rs' -exec grep -hE 'msg::CHANNEL_OPEN +=>' {} + | wc -l; }
	client=$(arms client)
	server=$(arms server)
	echo "thrussh $version: CHANNEL_OPEN is dispatched $client times in the client, $server in the server"
	[ "$client" = 0 ] && [ "$server" != 0 ] || status=1
done
exit $status
