#!/usr/bin/env python3
"""OCPP values to the shipped scripts, and through them to a real sshd: what docs/ocpp.md says, in both versions.

    tests/ocpp/prepare.sh && build/ocpp/bin/python tests/ocpp/test_ocpp.py     as root, with REACHBACK_BIN or a debug build; with
    REACHBACK_RUNNER=qemu-arm a program for ARM

Central system and charge point are doubles (doubles.py). Scripts, program, SSH servers and dashboard are
real: the controller and each server are hosts of their own, in network namespaces with a cable between.
"""

import json
import logging
import os
import re
import socket
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "server"))

import place
from place import TOP, dashboard, person, sh, wait_for

import doubles
from ocpp import exceptions

CHARGE = Path("/home/charge")
CONFIG = Path("/etc/reachback/config")
MARKER = Path("/run/injected")
LOG_SOCKET = "/run/log.sock"
MAX_TUNNELS = 8
INVOKED = "Ebee custom script invoked with parameter "
COMPLETED = "Ebee custom script invocation completed"
REFUSED = "Ebee custom script not invoked: Argument does not match user@domain"


class Syslog:
    """A syslogd that reads; the texts of all lines."""

    def __init__(self):
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(LOG_SOCKET)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            datagram = self.socket.recv(65536).decode(errors="replace")
            self.lines.append(datagram.partition(": ")[2])

    def wait(self, words, mark=0):
        def said():
            return next((line for line in self.lines[mark:] if words in line), None)
        try:
            return wait_for(words, said)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines[mark:]])) from None


class Server:
    """A host of its own at the end of a cable, with the system's sshd."""

    def __init__(self, name, number):
        self.name, self.log = name, Path(f"/var/log/{name}")
        near, far = f"192.0.2.{4 * number + 1}", f"192.0.2.{4 * number + 2}"
        sh(f"ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name};"
           f"ip addr add {near}/30 dev {name}; ip link set {name} up; ip -n {name} link set lo up;"
           f"ip -n {name} addr add {far}/30 dev eth0; ip -n {name} link set eth0 up;"
           f"echo {far} {name}.example >>/etc/hosts")
        sh(f"ip netns exec {name} /usr/sbin/sshd -E {self.log} -o PidFile=/run/{name}.pid")

    def run(self, command):
        """What a command on it prints."""
        return sh(f"ip netns exec {self.name} {command}", status=None)

    def page(self):
        return self.run("curl -s -m 10 http://localhost:1112/")

    def shell(self):
        """What a command on the controller says, through port 1111."""
        return self.run(f"ssh -p 1111 -i {CHARGE}/.ssh/id_ed25519 -o StrictHostKeyChecking=no "
                        "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR charge@localhost 'echo through; pwd'")

    def listens(self, port):
        return f":{port} " in self.run(f"ss -Hltn sport = :{port}")

    def logins(self):
        return self.log.read_text().count("Accepted publickey for op ")


def setUpModule():
    global LOG, HUB, HUB2
    place.furnish()
    Path("/etc/hosts").write_text("127.0.0.1 localhost\n")
    for name in ("ocpp", "asyncio"):
        logging.getLogger(name).disabled = True
    person("charge")
    sh(f"cp {TOP}/packaging/custom_script[12].sh {CHARGE}; chmod 755 {CHARGE}/*.sh;"
       f"dropbearkey -t rsa -s 2048 -f {CHARGE}/.ssh/id_rsa; chmod 600 {CHARGE}/.ssh/id_rsa; mkdir -p {CONFIG.parent}")
    person("op")
    sh(f"dropbearkey -y -f {CHARGE}/.ssh/id_rsa | grep ^ssh- >/home/op/.ssh/authorized_keys")
    place.Sshd()
    dashboard("the dashboard", 80)
    LOG = Syslog()
    HUB, HUB2 = Server("hub", 0), Server("hub2", 1)
    doubles.Stack.scripts = {f"InvokeCustomScript{n}": f"{CHARGE}/custom_script{n}.sh" for n in (1, 2)}
    doubles.Stack.environment = {**os.environ, "REACHBACK": "/usr/local/bin/reachback", "REACHBACK_SYSLOG": LOG_SOCKET}


def processes():
    """Numbers of the program's processes."""
    return [int(pid) for pid in sh(f"pgrep -x {place.RUNNER or 'reachback'}", status=None).split()]


def memory():
    """Proportional set size of all of them, kB."""
    found = 0
    for pid in processes():
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return found


def rows():
    """The rows of the table in docs/ocpp.md: value, answer, exit status, pieces of what the log says."""
    text = (TOP / "docs/ocpp.md").read_text().partition("<!-- run by the test -->")[2].partition("<!-- until here -->")[0]
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].startswith("`"):
            value, answer, status, said = cells[:4]
            found.append((json.loads(value.strip("`")), answer, int(status), re.findall(r"`([^`]+)`", said)))
    return found


class Values:
    """What is asked of both versions."""

    version = None

    def tearDown(self):
        sh("reachback stop --all")
        wait_for("nothing of it is left", lambda: not processes())
        CONFIG.unlink(missing_ok=True)
        self.assertFalse(MARKER.exists(), "a command was run")

    async def change(self, central, number, value, answer="Accepted"):
        """Sends a value to a script and gives what the log says from then on."""
        mark = len(LOG.lines)
        told = await central.change(f"InvokeCustomScript{number}", value)
        self.assertEqual(told.status, answer, f"{value!r}: {told} {LOG.lines[mark:]}")
        return mark, told

    async def up(self, central, host="hub"):
        for number in (1, 2):
            mark, _ = await self.change(central, number, f"op@{host}.example")
            LOG.wait(COMPLETED, mark)
        server = HUB if host == "hub" else HUB2
        wait_for("both ports listen", lambda: server.listens(1111) and server.listens(1112))
        return server

    async def test_both_scripts_reach_shell_and_dashboard_over_one_connection(self):
        before = HUB.logins()
        async with doubles.session(self.version) as central:
            server = await self.up(central)
            self.assertEqual(server.page(), "the dashboard")
            self.assertEqual(server.shell(), f"through\n{CHARGE}\n")
            both = processes()
            self.assertEqual(len(both), 2, "a supervisor and its worker")
            for number in (2, 1, 2):
                await self.change(central, number, "op@hub.example")
            self.assertEqual(processes(), both, "the same value again changes nothing")
        self.assertEqual(server.page(), "the dashboard", "the backend's connection is gone, the tunnel is not")
        self.assertEqual(HUB.logins(), before + 1)

    async def test_each_value_of_the_document_in_its_order(self):
        self.assertGreater(len(rows()), 20)
        async with doubles.session(self.version) as central:
            for value, answer, status, said in rows():
                mark, told = await self.change(central, 1, value, answer)
                ended = doubles.Stack.ended[-1]
                self.assertEqual(ended.status, status, f"{value!r}: {ended}")
                invoked = LOG.wait(INVOKED, mark)
                self.assertTrue(invoked.isprintable(), invoked)
                LOG.wait(REFUSED if status == 64 else COMPLETED if status == 0 else "not started: ", mark)
                for words in said:
                    if status and self.version == "2.0.1":
                        self.assertIn(words, told.text, repr(value))
                    else:
                        LOG.wait(words, mark)
                self.assertEqual(told.reason, doubles.REASONS[status] if told.text else "")

    async def test_another_server_leaves_the_first_tunnel_and_off_takes_the_forward_from_both(self):
        async with doubles.session(self.version) as central:
            await self.up(central)
            await self.up(central, "hub2")
            self.assertEqual([HUB.page(), HUB2.page()], ["the dashboard"] * 2)
            await self.change(central, 2, "off")
            wait_for("1112 is closed", lambda: not (HUB.listens(1112) or HUB2.listens(1112)))
            self.assertEqual(HUB2.shell(), f"through\n{CHARGE}\n")
            await self.change(central, 1, "stop")
            wait_for("the last forward ends the tunnel", lambda: not processes())
            self.assertFalse(HUB.listens(1111) or HUB2.listens(1111))

    async def test_reconnect_makes_another_connection(self):
        async with doubles.session(self.version) as central:
            server = await self.up(central)
            before = server.logins()
            mark, _ = await self.change(central, 2, "reconnect")
            LOG.wait("tunnel up: ", mark)
            wait_for("another login", lambda: server.logins() == before + 1)
            wait_for("the dashboard is back", lambda: server.page() == "the dashboard")

    async def test_the_file_says_which_servers_a_value_may_name(self):
        CONFIG.write_text("AllowDestinations *.example,!hub2.example\n")
        async with doubles.session(self.version) as central:
            mark, _ = await self.change(central, 2, "op@hub2.example", "Rejected")
            LOG.wait("not started: not allowed: op@hub2.example: AllowDestinations does not name it", mark)
            self.assertEqual(doubles.Stack.ended[-1].status, 77)
            await self.up(central)

    async def test_a_value_longer_than_ocpp_allows_reaches_no_script(self):
        async with doubles.session(self.version) as central:
            for length in (256, 500, self.longest):
                value = ".".join(["a" * 50] * 20)[:length - len("op@.example")] + ".example"
                mark, told = await self.change(central, 1, f"op@{value}", "Rejected")
                if self.version == "1.6":
                    LOG.wait("more than 255 bytes", mark)
                else:
                    self.assertIn("more than 255 bytes", told.text)
            calls = len(doubles.Stack.ended)
            for checked in (True, False):
                with self.assertRaises((exceptions.TypeConstraintViolationError, exceptions.FormatViolationError)):
                    await central.change("InvokeCustomScript1", "a" * (self.longest + 1), checked)
            self.assertEqual(len(doubles.Stack.ended), calls)

    async def test_other_keys_are_none_of_the_scripts(self):
        async with doubles.session(self.version) as central:
            for key in ("InvokeCustomScript3", "InvokeCustomScript", "HeartbeatInterval"):
                self.assertEqual((await central.change(key, "op@hub.example")).status, self.unknown)
        self.assertEqual(processes(), [])


class Ocpp16(Values, unittest.IsolatedAsyncioTestCase):
    version, longest, unknown = "1.6", 500, "NotSupported"

    async def burst(self, central, values):
        """Sends all of them at once; gives the answers and what the scripts left, once the last has answered."""
        mark, began = len(doubles.Stack.ended), time.monotonic()
        answers = await doubles.at_once(central, "InvokeCustomScript2", values)
        self.assertLessEqual(len(processes()), 2 * MAX_TUNNELS, "a supervisor and a worker each")
        if not place.RUNNER:
            self.assertLess(memory(), 64 << 10, "a controller's memory, of a debug build too")
        print(f"{len(values)} answers in {time.monotonic() - began:.1f} s, {memory()} kB; ", end="", file=sys.stderr)
        return answers, doubles.Stack.ended[mark:]

    async def test_fifty_values_for_one_server_are_one_tunnel(self):
        before = HUB.logins()
        async with doubles.session("1.6") as central:
            answers, _ = await self.burst(central, ["op@hub.example"] * 50)
            self.assertEqual(answers, ["Accepted"] * 50)
            wait_for("the port listens", lambda: HUB.listens(1112))
            self.assertEqual(len(processes()), 2)
            self.assertEqual(HUB.page(), "the dashboard")
        self.assertEqual(HUB.logins(), before + 1)

    async def test_fifty_servers_in_a_second_take_no_more_than_maxtunnels_and_spare_the_one_that_works(self):
        async with doubles.session("1.6") as central:
            await self.up(central)
            works = processes()
            answers, ended = await self.burst(central, [f"op@198.51.100.{n}" for n in range(1, 51)])
            self.assertEqual(answers.count("Accepted") + answers.count("Rejected"), 50)
            self.assertGreaterEqual(answers.count("Accepted"), MAX_TUNNELS - 1)
            for one in ended:
                if one.status:
                    self.assertEqual(one.status, 69, one)
            self.assertLessEqual(set(works), set(processes()))
            self.assertEqual(HUB.page(), "the dashboard")
            tunnels = json.loads(sh("reachback status --json", status=None))["tunnels"]
            self.assertLessEqual(len(tunnels), MAX_TUNNELS)
            await self.change(central, 2, "off")
            wait_for("only the other script's tunnel is left", lambda: processes() == works)


class Ocpp201(Values, unittest.IsolatedAsyncioTestCase):
    version, longest, unknown = "2.0.1", 1000, "UnknownVariable"

    async def test_another_component_is_none_of_the_scripts(self):
        async with doubles.session("2.0.1") as central:
            told = await central.change("InvokeCustomScript1", "op@hub.example", component="OCPPCommCtrlr")
            self.assertEqual(told.status, "UnknownComponent")
        self.assertEqual(processes(), [])


if __name__ == "__main__":
    place.enter()
    unittest.main(verbosity=2)
