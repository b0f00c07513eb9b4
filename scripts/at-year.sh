#!/bin/sh
# Runs a command with the wall clock at the first second of a year; the clock that
# deadlines are counted on stays.
#   at-year.sh 2040 qemu-arm reachback ...
# A FAKETIME that is set already stays as it is.
set -eu

year=$1
shift
if [ -z "${FAKETIME:-}" ]; then
	for library in /usr/lib/*/faketime/libfaketime.so.1; do
		[ -e "$library" ] || {
			echo "${0##*/}: libfaketime is not installed: run 'make setup'" >&2
			exit 1
		}
		export LD_PRELOAD="$library" FAKETIME="@$year-01-01 00:00:01" FAKETIME_DONT_FAKE_MONOTONIC=1
	done
fi
exec "$@"
