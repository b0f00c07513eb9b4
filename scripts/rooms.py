#!/usr/bin/env python3
"""The map of every room in docs/architecture.md, from the first line of each module.

  rooms.py          writes the map anew
  rooms.py --check  fails if it is not that of the code
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PAGE = TOP / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by scripts/rooms.py -->", "<!-- end of rooms -->"
CRATES = ["ssh/src", "core/src", "tunnel/src", "src"]


def purpose(path):
    """The first sentence of a module's documentation."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("//!"):
            break
        text = line[3:].strip()
        if not text and words:
            break
        words.append(text)
    sentence = re.split(r"(?<=\.)\s", " ".join(words) + " ")[0].rstrip(".;: ")
    if not sentence:
        sys.exit(f"{path.relative_to(TOP)}: no //! line says what it is for")
    # Links of rustdoc lead nowhere on this page.
    return re.sub(r"\[(`[^`]*`)\](\([^)]*\))?", r"\1", sentence)


def rooms():
    for crate in CRATES:
        folder = TOP / crate
        files = [f for f in folder.glob("*.rs") if not f.stem.endswith("tests")]
        files += folder.glob("*/mod.rs")
        yield f"\n**`{crate}`**\n\n| room | what it is for | lines |\n|---|---|---:|"
        for file in sorted(files, key=lambda f: f.parent.name if f.stem == "mod" else f.stem):
            name = file.parent.name if file.stem == "mod" else file.stem
            if name == "lib":
                continue
            parts = [file, *(folder / name).rglob("*.rs")] if file.stem != "mod" else [*(folder / name).rglob("*.rs")]
            parts = [p for p in parts if "tests" not in p.relative_to(folder).as_posix()]
            count = sum(len(p.read_text().splitlines()) for p in parts)
            yield f"| `{name}` | {purpose(file)} | {round(count, -1) or count} |"


def main():
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    made = f"{before}{BEGIN}\n" + "\n".join(rooms()) + f"\n\n{END}{after}"
    if sys.argv[1:] == ["--check"]:
        without_counts = lambda text: re.sub(r"\| \d+ \|$", "|", text, flags=re.M)
        if without_counts(made) != without_counts(page):
            sys.exit("docs/architecture.md: the map of rooms is not that of the code: run scripts/rooms.py")
        return
    PAGE.write_text(made)


main()
