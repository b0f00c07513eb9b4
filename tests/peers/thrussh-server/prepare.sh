#!/bin/sh
# Puts a copy of thrussh 0.49.0, repaired by thrussh.patch, into ./thrussh.
#
# As published, its server half cannot carry a reverse forward: a channel can
# only be opened from inside a callback, SSH_MSG_CHANNEL_OPEN_CONFIRMATION is
# never handled (sending data on such a channel hits an assertion), an end of
# data overtakes data that waits for the window, and a close gets no close in
# return. The patch repairs just these; key exchange, ciphers,
# authentication and packets stay thrussh's own.
set -eu
cd "$(dirname "$0")"
version=0.49.0
if cmp -s thrussh.patch thrussh/.patched; then
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
: >"$work/src/lib.rs"
cat >"$work/Cargo.toml" <<EOF
[package]
name = "source"
version = "0.0.0"
edition = "2024"
[dependencies]
thrussh = "=$version"
[workspace]
EOF
source=$(cargo metadata -q --format-version 1 --manifest-path "$work/Cargo.toml" |
    tr ',' '\n' | sed -n "s|^\"manifest_path\":\"\(.*/thrussh-$version\)/Cargo.toml\".*|\1|p" | head -n 1)
[ -n "$source" ] || {
    echo "prepare.sh: thrussh $version could not be fetched" >&2
    exit 1
}
mkdir "$work/thrussh"
cp -R "$source/Cargo.toml" "$source/README.md" "$source/src" "$work/thrussh/"
(cd "$work/thrussh" && patch -s -p1) <thrussh.patch
cp thrussh.patch "$work/thrussh/.patched"
rm -rf thrussh
mv "$work/thrussh" thrussh
