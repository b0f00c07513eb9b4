#!/usr/bin/env python3
"""Fetches released source archives, known by their SHA-256, from Debian's source packages.

    debian-archive.py DL_DIR HASH_FILE...

For each of Buildroot's .hash files: looks in the source packages of the same name, in every
suite, for a file with one of its hashes, and puts it under the name that Buildroot gives it
into DL_DIR/PACKAGE, where Buildroot's own check then accepts it. Prints what was found.
Only for machines that reach a Debian mirror but not the projects' own sites.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / os.environ.get("BUILD", "build")
APT = BUILD / "apt-archive"
SUITES = "sid testing stable"


def mirror():
    """The first Debian mirror of this machine's apt sources, and the key that signs it."""
    for path in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(Path("/etc/apt/sources.list.d").glob("*")):
        text = path.read_text(errors="replace") if path.is_file() else ""
        found = re.search(r"^(?:URIs:|deb) .*?(https?://\S+/debian)/?\s", text, re.MULTILINE)
        if found:
            signed = re.search(r"^Signed-By: *(\S+)", text, re.MULTILINE)
            return found[1], signed[1] if signed else "/usr/share/keyrings/debian-archive-keyring.gpg"
    sys.exit("debian-archive: no Debian mirror among this machine's apt sources")


def apt(tool, *arguments, **options):
    """An apt command that sees only the source packages of SUITES; its output, or None."""
    settings = {
        "Dir::Etc::SourceList": APT / "archive.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": APT / "state",
        "Dir::State::status": APT / "status",
        "Dir::Cache": APT / "cache",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    command = [tool, *(f"-o{key}={value}" for key, value in settings.items()), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
    return done.stdout if done.returncode == 0 else None


def update():
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (APT / directory).mkdir(parents=True, exist_ok=True)
    (APT / "status").touch()
    address, key = mirror()
    (APT / "archive.sources").write_text(
        f"Types: deb-src\nURIs: {address}\nSuites: {SUITES}\nComponents: main\nSigned-By: {key}\n")
    if apt("apt-get", "update", "-q") is None:
        sys.exit("debian-archive: the package lists could not be fetched")


def wanted(hash_file):
    """{sha256: file name} of a .hash file."""
    pattern = r"^sha256\s+([0-9a-f]{64})\s+(\S+)$"
    return dict(re.findall(pattern, hash_file.read_text(), re.MULTILINE))


def fetch(directory, hash_file):
    """Puts what Debian has of the files named by `hash_file` under `directory`."""
    package, hashes = hash_file.stem, wanted(hash_file)
    for stanza in (apt("apt-cache", "showsrc", package) or "").split("\n\n"):
        version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
        for value, name in re.findall(r"^ ([0-9a-f]{64}) \d+ (\S+\.orig\.\S+)$", stanza, re.MULTILINE):
            target = directory / package / hashes.get(value, "")
            if value not in hashes or target.is_file():
                continue
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                apt("apt-get", "source", "-q", "--download-only", "--tar-only",
                    f"{package}={version[1]}", cwd=scratch)
                if (Path(scratch) / name).is_file():
                    target.parent.mkdir(exist_ok=True)
                    (Path(scratch) / name).rename(target)
                    print(f"{package}: {target.name}")


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    update()
    for hash_file in arguments[1:]:
        fetch(directory, Path(hash_file))


if __name__ == "__main__":
    main(sys.argv[1:])
