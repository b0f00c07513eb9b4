#!/usr/bin/env python3
"""Checks what the documents point at: files, links, sections and tests.

A relative link leads to a file that exists, and to a heading in it where it names one. A path in
backticks that begins with a directory of the source tree exists; `path::name` is a function in it.
It prints every finding and then exits with status 1.
"""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\s]+)`")


def documents():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
                            cwd=TOP, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [TOP / name for name in listed.splitlines()]


def anchors(text):
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_link(document, link):
    if re.match(r"[a-z]+:", link):
        return False
    name, _, anchor = link.partition("#")
    target = document.parent / name if name else document
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target.read_text())


def broken_path(code, roots):
    """`core/watchdog` stands for the module: core/src/watchdog.rs or its directory."""
    name, _, function = code.partition("::")
    root, _, rest = name.partition("/")
    if root not in roots or not rest or not re.fullmatch(r"[\w./-]+", rest):
        return False
    places = (TOP / root / rest, TOP / root / "src" / rest)
    found = [path for place in places for path in (place, Path(f"{place}.rs")) if path.exists()]
    if not found:
        return True
    return bool(function) and not re.search(rf"\b(fn|def) {re.escape(function)}\b", found[0].read_text())


def main():
    roots = {path.name for path in TOP.iterdir() if path.is_dir()} - {"build", "target"}
    wrong = []
    for document in documents():
        text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        wrong += [(document, link) for link in LINK.findall(text) if broken_link(document, link)]
        wrong += [(document, code) for code in CODE.findall(text) if broken_path(code, roots)]
    for document, what in wrong:
        print(f"lint-docs.py: {document.relative_to(TOP)}: {what} leads nowhere", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
