#!/usr/bin/env python3
"""A TCP proxy on loopback that is a long or a slow link.

    link.py TO_PORT [--delay MS] [--rate BYTES_S]

Prints the port that it listens on. What it reads at one end it writes at the other after the
delay, in order, at no more than the rate. It has no queue to speak of: what the rate has no
room for is not read, and waits in the sender's kernel.
"""

import argparse
import select
import socket
import sys
import time
from collections import deque

CHUNK = 65536
# What may be under way in one direction: more than any window.
LIMIT = 64 << 20
# Of a link with a rate: what it has read before the rate had room for it.
SLACK_S = 0.01


class Way:
    """One direction of one connection."""

    def __init__(self, source, sink, options):
        self.source, self.sink = source, sink
        self.delay, self.rate = options.delay / 1000, options.rate
        self.chunk = min(CHUNK, max(256, int(self.rate * SLACK_S))) if self.rate else CHUNK
        self.under_way = deque()  # (due, bytes); no bytes are the end
        self.amount = 0
        self.free_at = 0.0
        self.ended = False  # the source
        self.done = False
        self.blocked = False  # the sink takes nothing now

    def reads_at(self, now):
        """When it may read: None for never, or not yet known."""
        if self.ended or self.amount >= LIMIT:
            return None
        return max(now, self.free_at - SLACK_S) if self.rate else now

    def read(self, now):
        try:
            data = self.source.recv(self.chunk)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.ended = not data
        if self.rate:
            self.free_at = max(self.free_at, now) + len(data) / self.rate
        begin = self.free_at if self.rate else now
        self.under_way.append((begin + self.delay, data))
        self.amount += len(data)

    def write(self, now):
        self.blocked = False
        while self.under_way and self.under_way[0][0] <= now:
            due, data = self.under_way.popleft()
            try:
                if not data:
                    self.done = True
                    self.sink.shutdown(socket.SHUT_WR)
                    return
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.ended = self.done = True
                self.under_way.clear()
                return
            self.amount -= sent
            if sent < len(data):
                self.under_way.appendleft((due, data[sent:]))
                self.blocked = True
                return


def carry(ways, listener):
    """One turn: waits for what can be done next, and does it. Gives whether somebody connects."""
    now = time.monotonic()
    reading, writing, wakes = {}, {}, []
    for way in ways:
        at = way.reads_at(now)
        if at is not None and at <= now:
            reading[way.source] = way
        elif at is not None:
            wakes.append(at)
        if way.blocked:
            writing[way.sink] = way
        elif way.under_way:
            wakes.append(way.under_way[0][0])
    wait = max(0, min(wakes) - now) if wakes else None
    readable, _, _ = select.select([*reading, listener], list(writing), [], wait)
    now = time.monotonic()
    for end in readable:
        if end in reading:
            reading[end].read(now)
    for way in ways:
        if way.under_way:
            way.write(now)
    return listener in readable


def connect(listener, options):
    near, _ = listener.accept()
    far = socket.socket()
    limit_buffers(far, options)
    far.connect(("127.0.0.1", options.to))
    for end in (near, far):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return [Way(near, far, options), Way(far, near, options)]


def limit_buffers(end, options):
    """The kernel's queue for a slow link: a fiftieth of a second, and no less than one packet."""
    if options.rate:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(4096, options.rate // 50))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("to", type=int)
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--rate", type=int, default=0)
    options = parser.parse_args()
    listener = socket.socket()
    limit_buffers(listener, options)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    ways = []
    while True:
        if carry(ways, listener):
            ways += connect(listener, options)
        ways = [way for way in ways if not way.done]


if __name__ == "__main__":
    sys.exit(main())
