#!/usr/bin/env python3
"""Checks the crates against deny.toml: licences, sources, bans.

It reads the part of cargo-deny's format that deny.toml uses, with cargo-deny's meaning, and asks
`cargo metadata` for the workspace's crates, those of its tests too. A key that it does not know is
an error. It prints every finding and then exits with status 1.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
KNOWN = {
    "graph": {"targets"},
    "licenses": {"allow"},
    "sources": {"unknown-registry", "unknown-git"},
    "bans": {"wildcards", "allow-wildcard-paths", "multiple-versions", "deny"},
}
FIXED = [
    ("sources", "unknown-registry", "deny"), ("sources", "unknown-git", "deny"),
    ("bans", "wildcards", "deny"), ("bans", "allow-wildcard-paths", True),
    ("bans", "multiple-versions", "allow"),
]
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def rules():
    """deny.toml, of which every key is known."""
    read = tomllib.loads((TOP / "deny.toml").read_text())
    for table, keys in read.items():
        for key in keys:
            if key not in KNOWN.get(table, set()):
                sys.exit(f"deny.py: deny.toml: {table}.{key} is not checked by this script")
    if any(read[table][key] != value for table, key, value in FIXED):
        sys.exit(f"deny.py: deny.toml: this script knows {FIXED} only")
    return read


def permitted(expression, allowed):
    """Whether an SPDX expression can be met with allowed licences. Older manifests write `/` for OR.

    >>> def is_permitted(*texts): return {permitted(text, {"MIT", "ISC"}) for text in texts}
    >>> is_permitted("MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "ISC AND (GPL-3.0 OR MIT)")
    {True}
    >>> is_permitted("GPL-3.0", "MIT AND GPL-3.0", "MIT WITH a-twist", "(MIT OR ISC) AND BSL-1.0")
    {False}
    """
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        result = both()
        while words and words[0] == "OR":
            words.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while words and words[0] == "AND":
            words.pop(0)
            result = one() and result
        return result

    def one():
        word = words.pop(0)
        if word == "(":
            result = alternatives()
            words.pop(0)
            return result
        if words and words[0] == "WITH":
            word = " ".join([word, words.pop(0), words.pop(0)])
        return word in allowed

    return alternatives()


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE).stdout)


def findings(found, rule):
    """What is wrong with the crates, as lines."""
    used = {node["id"] for node in found["resolve"]["nodes"]}
    banned = {entry["crate"] for entry in rule["bans"]["deny"]}
    for package in found["packages"]:
        if package["id"] not in used:
            continue
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, CRATES_IO):
            yield f"{name}: source {package['source']}"
        if not package["license"]:
            yield f"{name}: no licence"
        elif not permitted(package["license"], rule["licenses"]["allow"]):
            yield f"{name}: licence {package['license']}"
        if package["name"] in banned:
            yield f"{name}: banned"
        if package["source"] is None:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and "path" not in dependency:
                    yield f"{name}: any version of {dependency['name']}"


def main():
    rule = rules()
    wrong = {line for target in rule["graph"]["targets"] for line in findings(metadata(target), rule)}
    for line in sorted(wrong):
        print(f"deny.py: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
