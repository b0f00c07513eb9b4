#!/usr/bin/env python3
"""Lists what the program is made of, from cargo's metadata.

    sbom.py cyclonedx TARGET EPOCH_S   a CycloneDX 1.5 document on standard output
    sbom.py licences TARGET            one line for each crate: name, version, licence

Only crates that end up in the program for TARGET count, or that build it; those of the tests
do not. Which licences are allowed is deny.toml's matter (deny.py).
"""

import datetime
import hashlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def crates(target):
    """The packages of the program, sorted, and {id: ids of what each depends on}."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    done = subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.PIPE)
    metadata = json.loads(done.stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    edges, waiting = {}, [metadata["resolve"]["root"]]
    while waiting:
        one = waiting.pop()
        if one in edges:
            continue
        edges[one] = [
            dependency["pkg"] for dependency in nodes[one]["deps"]
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
        ]
        waiting += edges[one]
    found = [package for package in metadata["packages"] if package["id"] in edges]
    return sorted(found, key=lambda package: (package["name"], package["version"])), edges


def licence(package):
    """The SPDX expression; older manifests write `/` for OR. deny.toml says which are allowed."""
    return re.sub(r"\s*/\s*", " OR ", package["license"])


def checksums():
    """{(name, version): SHA-256} from Cargo.lock; our own crates have none."""
    text = (TOP / "Cargo.lock").read_text()
    pattern = r'name = "(.+)"\nversion = "(.+)"\nsource = .*\nchecksum = "([0-9a-f]{64})"'
    return {(name, version): value for name, version, value in re.findall(pattern, text)}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def cyclonedx(target, epoch_s):
    packages, edges = crates(target)
    sums = checksums()
    references = {package["id"]: purl(package) for package in packages}

    def component(package):
        own = package["source"] is None
        described = {
            "type": "application" if package["name"] == "reachback" else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": licence(package)}],
            "purl": purl(package),
        }
        if not own:
            value = sums[package["name"], package["version"]]
            described["hashes"] = [{"alg": "SHA-256", "content": value}]
        return described

    root = next(package for package in packages if package["name"] == "reachback")
    time = datetime.datetime.fromtimestamp(int(epoch_s), datetime.UTC)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(root),
            "properties": [{"name": "target", "value": target}],
        },
        "components": [component(package) for package in packages if package is not root],
        "dependencies": [
            {"ref": references[one["id"]], "dependsOn": sorted(references[i] for i in edges[one["id"]])}
            for one in packages
        ],
    }
    # The same content has the same number, so that a second run gives the same file.
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()
    document["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


def licences(target):
    for package in crates(target)[0]:
        print(f"{package['name']} {package['version']}: {licence(package)}")


def main(arguments):
    match arguments:
        case ["cyclonedx", target, epoch_s]:
            cyclonedx(target, epoch_s)
        case ["licences", target]:
            licences(target)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
