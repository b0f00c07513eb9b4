#!/bin/sh
# Lints every shell script of the tree, found by its first line.
set -eu

cd "$(dirname "$0")/.."
# Files that are new but not committed yet count too.
git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
	[ -f "$file" ] || continue
	case $(head -n 1 "$file" | tr -d '\0') in
	'#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'* | '# shellcheck shell='*) printf '%s\n' "$file" ;;
	esac
done | sort -u | xargs shellcheck -x
