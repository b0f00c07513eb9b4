#!/usr/bin/env python3
"""A slow and lossy link between two network namespaces.

    link.py NAMESPACE [--rate BIT_S] [--queue BYTES] [--delay MS] [--loss PERCENT]

Makes interface `near` here and `far` in NAMESPACE (both TUN, both up) and carries packets
between them, both ways alike: at a rate, out of a queue that drops its newest packet when it is
full, with a delay, losing some. Says `ready` and runs until it is killed; the interfaces go with
it. Takes no queueing discipline of the kernel, so that it runs where tc has none.
"""

import argparse
import fcntl
import os
import random
import select
import struct
import subprocess
import time
from collections import deque

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def tun(name):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return file


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Way:
    """One direction."""

    def __init__(self, source, sink, options):
        self.source, self.sink, self.options = source, sink, options
        self.bytes_s = options.rate / 8
        self.free_at = 0.0  # when the last packet that was taken has left the queue
        self.under_way = deque()  # (arrives_at, packet)

    def take(self, now):
        while True:
            try:
                packet = os.read(self.source, 65536)
            except BlockingIOError:
                return
            self.free_at = max(self.free_at, now)
            if self.bytes_s:
                queued = (self.free_at - now) * self.bytes_s
                if queued + len(packet) > self.options.queue:
                    continue
                self.free_at += len(packet) / self.bytes_s
            if random.random() * 100 >= self.options.loss:
                self.under_way.append((self.free_at + self.options.delay / 1000, packet))

    def deliver(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            try:
                os.write(self.sink, self.under_way.popleft()[1])
            except OSError:
                pass  # the interface is down

    def due(self):
        return self.under_way[0][0] if self.under_way else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    for option, default in (("--rate", 0), ("--queue", 65536), ("--delay", 0), ("--loss", 0)):
        parser.add_argument(option, type=int, default=default)
    options = parser.parse_args()
    near, far = tun("near"), tun("far")
    ip("link", "set", "far", "netns", options.namespace)
    ip("link", "set", "near", "up")
    ip("-n", options.namespace, "link", "set", "far", "up")
    print("ready", flush=True)
    ways = [Way(near, far, options), Way(far, near, options)]
    poll = select.poll()
    for way in ways:
        poll.register(way.source, select.POLLIN)
    while True:
        now = time.monotonic()
        for way in ways:
            way.take(now)
            way.deliver(now)
        due = [way.due() for way in ways if way.under_way]
        wait = max(0, min(due) - time.monotonic()) * 1000 if due else None
        poll.poll(None if wait is None else int(wait) + 1)


if __name__ == "__main__":
    main()
