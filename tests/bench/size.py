"""What each program takes in flash, with its libraries."""

import lzma

import image


def files():
    return {
        "reachback": [image.REACHBACK],
        "dbclient": [image.dropbear() / "dbclient"],
        "ssh": list(image.openssh().values()),
    }


def measure(table):
    for program, paths in files().items():
        contents = [path.read_bytes() for path in paths]
        table.add("size", "size with libraries, bytes", program, sum(map(len, contents)))
        packed = sum(len(lzma.compress(content, preset=9)) for content in contents)
        table.add("size-xz", "the same after `xz -9`", program, packed)
