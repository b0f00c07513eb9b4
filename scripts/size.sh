#!/bin/sh
# Prints what the ARM binary costs in flash, and fails above the limit.
#   SIZE_LIMIT   bytes of the stripped binary (default 750000: the sandbox made 632036 into 644332,
#                enroll 668932, doctor some 20000, the way through a proxy 7000, host keys that change
#                (UpdateHostKeys) 8000, and their certificates 6500 more; 1150000 with an installed
#                standard library, which was compiled for speed and brings a reader of debug
#                information along)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

case $(cat "$BUILD/arm/library" 2>/dev/null) in
installed) limit=1150000 ;;
*) limit=750000 ;;
esac
limit=${SIZE_LIMIT:-$limit}
binary=$BUILD/arm/reachback
[ -e "$binary" ] || die "$binary is not there: run 'make arm'"
case $(file -L "$binary") in
*', stripped'*) ;;
*) die "$binary is not stripped" ;;
esac

bytes=$(wc -c <"$binary")
packed=$(xz -9 -c "$binary" | wc -c)
say "reachback: $bytes bytes stripped (limit $limit), $packed bytes after xz -9"
[ "$bytes" -le "$limit" ] || die "$((bytes - limit)) bytes over the limit"
