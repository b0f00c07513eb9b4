#!/usr/bin/env python3
"""Prints what the ARM binary's bytes are spent on: the code by crate, and the largest functions.

    bloat.py [FILE]    the program with its symbols; build/arm/reachback.debug by default
"""

import collections
import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = (TOP / os.environ.get("BUILD", "build")).resolve()
LARGEST = 30


def crate(name):
    """The crate of a function; of a method, that of its type.

    >>> crate("<reachback_ssh::client::Client>::next_event")
    'reachback_ssh'
    >>> crate("reachback::cli::parse")
    'reachback'
    >>> crate("ring_core_0_17_14__x25519_sc_muladd"), crate("fiat_p256_mul"), crate("memcpy")
    ('ring, C and assembly', 'ring, C and assembly', 'libc')
    """
    if found := re.search(r"([a-z_][a-z_0-9]*)::", name):
        return found[1]
    if re.match(r"ring_core|fiat_|p256_|x25519|_?bsaes|bn_|aes_|gcm_|ChaCha|poly1305|sha\d", name):
        return "ring, C and assembly"
    return "libc"


def main():
    file = sys.argv[1] if len(sys.argv) > 1 else str(BUILD / "arm/reachback.debug")
    nm = ["arm-linux-gnueabihf-nm", "-C", "-S", "--size-sort", "--reverse-sort", file]
    lines = subprocess.run(nm, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [line.split(" ", 3) for line in lines]
    code = [(int(size, 16), name) for _, size, kind, name in found if kind in "tTwW"]
    crates = collections.Counter()
    for size, name in code:
        crates[crate(name)] += size
    print(f"{sum(crates.values()):8}  code in all")
    for name, size in crates.most_common(20):
        print(f"{size:8}  {name}")
    print()
    for size, name in code[:LARGEST]:
        print(f"{size:8}  {name}")


if __name__ == "__main__":
    main()
