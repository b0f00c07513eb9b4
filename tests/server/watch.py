"""What a fleet does to an sshd in a place (place.py): connections, drops, logins, processor time, and who is back."""

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import place
from place import Sshd, sh

PROBE_S = 2
ENDED = r"^(?:Read error|Received disconnect|Disconnected|Connection (?:closed|reset)) .* port (\d+)"
TICKS = os.sysconf("SC_CLK_TCK")
NFT = """
table inet fleet {
    counter syns { }
    set cut { type inet_service; }
    chain path { }
    chain input {
        type filter hook input priority 0;
        tcp dport 22 tcp sport @cut drop
        tcp sport 22 tcp dport @cut drop
        jump path
        tcp dport 22 tcp flags & (syn | ack) == syn counter name syns
    }
}
"""


class Watch:
    """Reads sshd's log, looks through the forwards of whoever has logged in, and counts, second by second."""

    def __init__(self, log):
        self.log, self.members, self.offset, self.ended = log, {}, 0, set()
        self.reset()
        self.loop = asyncio.new_event_loop()
        self.target = None
        threading.Thread(target=self.run, daemon=True).start()
        place.wait_for("the target listens", lambda: self.target)

    def reset(self):
        """A phase begins: nobody is there."""
        self.since, self.syns_before = time.monotonic(), syns()
        self.drops = self.logins = 0
        self.rows = [[0, 0, 0, 0, 0]]
        self.returns = {}
        self.away()

    def away(self):
        for member in self.members.values():
            member.back = False
        self.returns = {}

    def run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000))
        self.target = server.sockets[0].getsockname()[1]
        self.loop.create_task(self.sample())
        self.loop.run_until_complete(self.read())

    @staticmethod
    async def serve(_, writer):
        writer.write(b"k")
        writer.close()

    async def read(self):
        while True:
            with open(self.log, errors="replace") as log:
                log.seek(self.offset)
                text = log.read()
            whole = text[:text.rfind("\n") + 1]
            self.offset += len(whole.encode(errors="replace"))
            self.drops += len(re.findall(r"^drop connection ", whole, re.M))
            self.ended.update(re.findall(ENDED, whole, re.M))
            for port, fingerprint in re.findall(r"^Accepted publickey .* port (\d+) .*(SHA256:\S+)$", whole, re.M):
                self.logins += 1
                self.ended.discard(port)
                if fingerprint in self.members:
                    member = self.members[fingerprint]
                    member.port = port
                    self.loop.create_task(self.confirm(member, port))
            await asyncio.sleep(0.05)

    async def confirm(self, member, port):
        """It is back once its target has answered through both forwards.

        What an older session still holds is left alone: visitors keep sshd from seeing that its client is gone.
        """
        await asyncio.sleep(0.2)
        while member.port == port and port not in self.ended and not member.back:
            since = self.since
            if not all([await self.answers(listener) for listener in member.listeners]):
                await asyncio.sleep(0.3)
            elif since == self.since and not member.back:
                member.back = True
                self.returns[member.name] = time.monotonic() - since

    @staticmethod
    async def answers(listener):
        opened = (asyncio.open_unix_connection(listener) if isinstance(listener, str)
                  else asyncio.open_connection("127.0.0.1", listener))
        writer = None
        try:
            reader, writer = await asyncio.wait_for(opened, PROBE_S)
            return await asyncio.wait_for(reader.read(1), PROBE_S) == b"k"
        except (OSError, asyncio.TimeoutError):
            return False
        finally:
            if writer:
                writer.close()

    async def sample(self):
        while True:
            now, since = time.monotonic(), self.since
            count = await self.loop.run_in_executor(None, syns)
            back = sum(member.back for member in self.members.values())
            if since == self.since:
                self.rows.append([round(now - since, 2), count - self.syns_before, self.drops, self.logins, back])
            await asyncio.sleep(max(0, now + 1 - time.monotonic()))

    def all_back(self):
        return all(member.back for member in self.members.values())


def syns():
    found = re.search(r"packets (\d+)", sh("nft list counter inet fleet syns", status=None))
    return int(found[1]) if found else 0


class Server(Sshd):
    """The listener, and the processor time of it and of all that came from it, also of those that are gone."""

    lost = 0.0

    def tree(self):
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(words[1]), []).append((int(stat.parent.name), sum(map(int, words[11:15])) / TICKS))
        todo = [entry for entries in parents.values() for entry in entries if entry[0] == self.pid()]
        for pid, _ in todo:
            todo += parents.get(pid, [])
        return todo

    @staticmethod
    def pid():
        return int(Path("/run/sshd.pid").read_text())

    def cpu(self):
        return self.lost + sum(spent for _, spent in self.tree())

    def end_sessions(self):
        """Nobody may begin a new one meanwhile."""
        before = self.cpu()
        place.wait_for("the sessions end", lambda: not self.kill_all())
        self.lost += before - self.cpu()

    def kill_all(self):
        """Kills the sessions, and gives whether there were any."""
        sessions = self.tree()[1:]
        for pid, _ in reversed(sessions):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return sessions
