#!/usr/bin/env python3
"""Fetches Debian's or Ubuntu's armhf packages without installing them.

    armhf-packages.py unpack DIR PACKAGE...   unpack packages into DIR
    armhf-packages.py source DIR PACKAGE      unpack a source package into DIR
    armhf-packages.py find REGEX              print the newest package whose name matches
    armhf-packages.py closure PACKAGE         print the library packages it needs

A package system of its own is kept under $BUILD/apt (default: build/apt). Its sources
are derived from the machine's own apt sources; the machine's architectures, sources
and package lists stay as they are, and no root is needed. DEBIAN_ARCH names another
architecture than armhf.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / os.environ.get("BUILD", "build")
ARCH = os.environ.get("DEBIAN_ARCH", "armhf")
APT = BUILD / ("apt" if ARCH == "armhf" else f"apt-{ARCH}")

# Ubuntu keeps armhf and arm64 on a mirror of its own, so its address cannot be derived.
UBUNTU_ARMHF = os.environ.get("UBUNTU_ARMHF", "http://ports.ubuntu.com/ubuntu-ports")


def fail(message):
    sys.exit(f"armhf-packages: {message}")


def os_release():
    """The fields of os-release(5) as a dictionary."""
    fields = {}
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        fields[key] = value.strip('"')
    return fields


def parse_sources():
    """The machine's apt sources as a list of dictionaries, one per suite line.

    Keys as in deb822 stanzas, in lower case; see sources.list(5).
    """
    entries = []
    etc = Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in files:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            entries += parse_deb822(text)
        elif path.suffix == ".list":
            entries += parse_one_line(text)
    return entries


def parse_deb822(text):
    for stanza in re.split(r"\n\s*\n", text):
        fields, key = {}, None
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and key:
                fields[key] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "uris" in fields and fields.get("enabled", "yes").lower() not in ("no", "false"):
            yield fields


def parse_one_line(text):
    pattern = re.compile(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+?)\s*(?:#.*)?$")
    for line in text.splitlines():
        match = pattern.match(line.strip())
        if not match:
            continue
        options, uri, suite, components = match.groups()
        fields = {"types": "deb", "uris": uri, "suites": suite, "components": components}
        for option in (options or "").split():
            key, _, value = option.partition("=")
            fields[key.lower()] = value.replace(",", " ")
        yield fields


def armhf_sources():
    """Stanzas for the distribution's own suites, ARCH and source packages."""
    release = os_release()
    codename = release.get("VERSION_CODENAME") or fail("os-release names no VERSION_CODENAME")
    ubuntu = release.get("ID") == "ubuntu"
    stanzas = []
    for entry in parse_sources():
        suites = [s for s in entry["suites"].split() if s.split("-")[0] == codename]
        components = entry.get("components", "").split()
        if "deb" not in entry.get("types", "").split() or not suites or "main" not in components:
            continue
        common = f"Suites: {' '.join(suites)}\nComponents: {' '.join(components)}\n"
        if "signed-by" in entry:
            common += f"Signed-By: {entry['signed-by']}\n"
        uris = UBUNTU_ARMHF if ubuntu else entry["uris"]
        stanzas.append(f"Types: deb\nURIs: {uris}\nArchitectures: {ARCH}\n{common}")
        stanzas.append(f"Types: deb-src\nURIs: {entry['uris']}\n{common}")
    if not stanzas:
        fail(f"no apt source of this machine serves {codename} main")
    return "\n".join(dict.fromkeys(stanzas))


def apt_command(tool, *arguments):
    """An apt command line that sees only the package system under $BUILD/apt."""
    options = {
        "Dir::Etc::SourceList": APT / "armhf.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": APT / "state",
        "Dir::State::status": APT / "status",
        "Dir::Cache": APT / "cache",
        "APT::Architecture": ARCH,
        "APT::Architectures": ARCH,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return [tool, *(f"-o{key}={value}" for key, value in options.items()), *arguments]


def apt(tool, *arguments, cwd=None):
    """Runs an apt tool and returns its output; a failure ends the program with it."""
    done = try_apt(tool, *arguments, cwd=cwd)
    if done.returncode != 0:
        fail(f"{tool} {' '.join(arguments)} failed:\n{done.stdout}")
    return done.stdout


def try_apt(tool, *arguments, cwd=None):
    return subprocess.run(
        apt_command(tool, *arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )


def update():
    """Fetches the package lists, once for each set of sources."""
    sources = armhf_sources()
    stamp = APT / "updated"
    if stamp.is_file() and stamp.read_text() == sources:
        return
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (APT / directory).mkdir(parents=True, exist_ok=True)
    (APT / "status").touch()
    (APT / "armhf.sources").write_text(sources)
    done = try_apt("apt-get", "update", "-q")
    if done.returncode != 0:
        # A mirror in the middle of a synchronisation fails one suite; the others serve.
        if not re.search(r"Candidate: \d", apt("apt-cache", "policy", "libc6")):
            fail(f"apt-get update failed:\n{done.stdout}")
        errors = [line for line in done.stdout.splitlines() if line.startswith("E: ")]
        print("armhf-packages: going on without:", *errors, sep="\n  ", file=sys.stderr)
    stamp.write_text(sources)


def refresh_and_retry(action):
    """Runs `action`; where the lists are so old that files are gone, once more with new ones."""
    update()
    try:
        return action()
    except SystemExit as failure:
        print(f"{failure}\narmhf-packages: fetching the package lists again", file=sys.stderr)
        (APT / "updated").unlink(missing_ok=True)
        update()
        return action()


def unpack(directory, packages):
    directory.mkdir(parents=True, exist_ok=True)
    stamps = directory / ".packages"
    stamps.mkdir(exist_ok=True)
    wanted = [name for name in packages if not (stamps / name).exists()]
    if not wanted:
        return
    archives = APT / "archives"

    def download():
        archives.mkdir(parents=True, exist_ok=True)
        apt("apt-get", "download", "-q", *wanted, cwd=archives)

    refresh_and_retry(download)
    for name in wanted:
        newest = max(archives.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
        subprocess.run(["dpkg", "-x", newest, directory], check=True)
        newest.unlink()
        (stamps / name).touch()


def source(directory, package):
    if any(directory.glob(f"{package}-*/")):
        return
    directory.mkdir(parents=True, exist_ok=True)
    refresh_and_retry(lambda: apt("apt-get", "source", "-q", package, cwd=directory))


def find(pattern):
    """Prints the package that matches the whole of `pattern` and has the newest version."""

    def search():
        names = apt("apt-cache", "pkgnames").split()
        found = [name for name in names if re.fullmatch(pattern, name)]
        if not found:
            fail(f"no package matches {pattern}")
        numbers = lambda name: [int(n) for n in re.findall(r"\d+", name)]
        return max(found, key=numbers)

    print(refresh_and_retry(search))


def closure(package):
    def search():
        text = apt(
            "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
            "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", package,
        )
        names = re.findall(r"^ *\|?(?:Pre)?Depends: ([a-z0-9][^ \n]*)$", text, re.MULTILINE)
        return sorted({n for n in names if n.startswith(("lib", "zlib"))})

    print("\n".join(refresh_and_retry(search)))


def main(arguments):
    match arguments:
        case ["unpack", directory, *packages] if packages:
            unpack(Path(directory).resolve(), packages)
        case ["source", directory, package]:
            source(Path(directory).resolve(), package)
        case ["find", pattern]:
            find(pattern)
        case ["closure", package]:
            closure(package)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
