#!/bin/sh
# Makes a Python environment with what requirements.txt pins, in $BUILD/ocpp, unless it is there.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

wanted=$top/tests/ocpp/requirements.txt
there=$BUILD/ocpp
! cmp -s "$wanted" "$there/installed" || exit 0
python3 -m venv --clear "$there"
"$there/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: -r "$wanted" ||
	die "the packages in $wanted could not be installed: pip says why; it needs PyPI or a mirror of it once"
cp "$wanted" "$there/installed"
