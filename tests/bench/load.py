"""The services that forwards lead to and the people who use them, in processes of their own."""

import multiprocessing
import os
import signal
import socket
import struct
import threading
import time

import controller as arm

BLOCK = os.urandom(1 << 18)
ANSWER = 500
# Processes are forked, so that what they run needs no name.
FORK = multiprocessing.get_context("fork")


class Process:
    """A function in a process that ends with this one, or at the end of the `with` block."""

    def __init__(self, function, *arguments):
        self.process = FORK.Process(target=self.run, args=(function, *arguments), daemon=True)
        self.process.start()

    @staticmethod
    def run(function, *arguments):
        arm.die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        function(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


class Service(Process):
    """A target on loopback; `handle(connection)` serves each in a thread.

    `count` is what sinks have read so far, bytes.
    """

    def __init__(self, handle):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listener.getsockname()[1]
        self.counter = FORK.Value("Q", 0)
        super().__init__(self.serve, listener, handle, self.counter)
        listener.close()

    @property
    def count(self):
        return self.counter.value

    @staticmethod
    def serve(listener, handle, counter):
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=guarded, args=(handle, connection, counter), daemon=True).start()


def guarded(handle, connection, counter):
    try:
        handle(connection, counter)
    except OSError:
        pass  # the other end is gone
    finally:
        connection.close()


# --- Targets ------------------------------------------------------------------------------


def source(connection, _):
    """Writes for ever."""
    while True:
        connection.sendall(BLOCK)


def source_of(size):
    """Writes so many bytes and the end."""

    def handle(connection, _):
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    return handle


def sink(connection, counter):
    """Reads to the end. What begins with `s` is read slowly and not counted."""
    space = bytearray(len(BLOCK))
    slow = connection.recv(1) == b"s"
    while True:
        got = connection.recv_into(space, 4096 if slow else 0)
        if not got:
            return
        if slow:
            time.sleep(0.5)
        else:
            with counter:
                counter.value += got


def echo(connection, _):
    while data := connection.recv(4096):
        connection.sendall(data)


def answer(connection, _):
    """Answers in one write whatever comes in one read."""
    while connection.recv(4096):
        connection.sendall(BLOCK[:ANSWER])


def answer_in_two_writes(connection, _):
    """Head and body in a write each, as most small web servers do, and with Nagle's algorithm."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    while connection.recv(4096):
        connection.sendall(BLOCK[:200])
        connection.sendall(BLOCK[200:ANSWER])


# --- People -------------------------------------------------------------------------------


def dial(port, timeout_s=60):
    end = socket.create_connection(("127.0.0.1", port), timeout_s)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


def read_exactly(end, count):
    while count:
        data = end.recv(count)
        if not data:
            raise EOFError("the connection ended")
        count -= len(data)


def request(end):
    """Sends a request and reads the answer; ms."""
    begin = time.perf_counter()
    end.sendall(BLOCK[:100])
    read_exactly(end, ANSWER)
    return (time.perf_counter() - begin) * 1000


def stroke(end):
    """A key and its echo."""
    end.sendall(b"k")
    read_exactly(end, 1)


def visit(port):
    """A connection of its own with one request, to its end; ms."""
    begin = time.perf_counter()
    with dial(port) as end:
        request(end)
        end.shutdown(socket.SHUT_WR)
        end.recv(1)
    return (time.perf_counter() - begin) * 1000


def send_for_ever(port, first=b"f"):
    with dial(port, None) as end:
        end.sendall(first)
        while True:
            end.sendall(BLOCK)


def send(port, size):
    """Sends so many bytes to a sink, which has read all when this returns."""
    with dial(port, 600) as end:
        end.sendall(b"f" + bytes(size - 1))
        end.shutdown(socket.SHUT_WR)
        end.recv(1)


def receive(port):
    """Reads to the end."""
    space = bytearray(len(BLOCK))
    with dial(port, 600) as end:
        while end.recv_into(space):
            pass


def abort(end):
    """Closes at once, whatever was not sent yet."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def download(port, service, size, limit_s):
    """Sends to the sink `service` behind the forward until it has read `size` bytes or time is
    over; gives MB/s."""
    end = dial(port, None)
    stop = threading.Event()

    def send():
        try:
            end.sendall(b"f")
            while not stop.is_set():
                end.sendall(BLOCK)
        except OSError:
            pass

    before, begin = service.count, time.perf_counter()
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    while service.count - before < size and time.perf_counter() - begin < limit_s:
        time.sleep(0.001)
    rate = (service.count - before) / (time.perf_counter() - begin) / 1e6
    stop.set()
    abort(end)
    return rate


def upload(port, size, limit_s):
    """Reads from a source behind the forward until it has `size` bytes or time is over; MB/s."""
    space = bytearray(len(BLOCK))
    got, begin = 0, time.perf_counter()
    with dial(port, limit_s) as end:
        while got < size and time.perf_counter() - begin < limit_s:
            try:
                got += end.recv_into(space)
            except TimeoutError:
                break
    return got / (time.perf_counter() - begin) / 1e6


def rate(service, seconds):
    """What a sink reads meanwhile, MB/s."""
    time.sleep(0.5)
    before, begin = service.count, time.perf_counter()
    time.sleep(seconds)
    return (service.count - before) / (time.perf_counter() - begin) / 1e6
