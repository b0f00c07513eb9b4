#!/usr/bin/env python3
"""Runs the commands of docs/server.md as they stand there, in their order.

A block that begins with "```sh WHO" is run by WHO: server (root), controller (root on a controller), technician (tina).

    python3 tests/server/test_document.py     as root, with REACHBACK_BIN or a debug build
"""

import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import place
from place import BASE, TOP, Sshd, page, person, sh, wait_for

DOCUMENT = TOP / "docs" / "server.md"
BLOCK = re.compile(r"^( *)```(\w+)? ?(\w+)?\n(.*?)^ *```$", re.M | re.S)
FIELD = ["ip", "netns", "exec", "field"]
# A line in the text that names one of these with arguments has to be run too.
PROGRAMS = ("reachback ", "reachback-controllers ", "server/setup ", "ssh ", "scp ", "nginx ", "systemctl ")


def blocks(text):
    """(line number, language, who, commands), without the indentation of a list."""
    for match in BLOCK.finditer(text):
        commands = re.sub(f"^{match[1]}", "", match[4], flags=re.M)
        yield text[:match.start()].count("\n") + 2, match[2], match[3], commands


def run(who, commands, line):
    """As a person would paste it; what goes to the background keeps no pipe open."""
    prefix = {"technician": ["runuser", "-u", "tina", "--"], "controller": FIELD, "server": []}[who]
    environment = {**os.environ, "REACHBACK": "/usr/local/bin/reachback"}
    environment["HOME"] = "/home/tina" if who == "technician" else "/root"
    log = WHERE / "output"
    with open(log, "w") as output:
        done = subprocess.run([*prefix, "sh", "-eu", "-c", commands], cwd=WORK, env=environment, stdin=subprocess.DEVNULL,
                              stdout=output, stderr=subprocess.STDOUT, timeout=place.PATIENCE_S)
    said = log.read_text()
    if done.returncode:
        raise AssertionError(f"docs/server.md:{line}: exit status {done.returncode}\n{commands}\n{said}\n"
                             f"{sh('tail -n 20 /var/log/auth.log')}")
    return said


# The server's new host key, and the old one.
ROTATION = []


def pinned(key):
    """Whether the controller knows this key as the server's."""
    return f"hub.example ssh-ed25519 {key}" in Path("/root/.ssh/known_hosts").read_text()


def field():
    """The controller's network: its own localhost, with an SSH server and a dashboard, and a cable to the server."""
    Path("/etc/netns/field").mkdir(parents=True)
    Path("/etc/netns/field/hosts").write_text("127.0.0.1 localhost\n10.9.0.1 hub.example\n")
    sh("ip netns add field; ip link add hub0 type veth peer name field0 netns field; ip addr add 10.9.0.1/24 dev hub0;"
       "ip link set hub0 up; ip -n field addr add 10.9.0.2/24 dev field0; ip -n field link set field0 up; ip -n field link set lo up")
    sh("ip netns exec field /usr/sbin/sshd -o PidFile=none -o ListenAddress=127.0.0.1")
    (WHERE / "web").mkdir()
    (WHERE / "web/index.html").write_text("the dashboard")
    global DASHBOARD
    DASHBOARD = subprocess.Popen([*FIELD, sys.executable, "-m", "http.server", "80", "--bind", "127.0.0.1", "--directory", WHERE / "web"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("the dashboard listens", lambda: ":80 " in sh("ip netns exec field ss -Hltn"))


def setUpModule():
    global WHERE, WORK
    WHERE = place.furnish()
    WORK = WHERE / "work"
    WORK.mkdir()
    WHERE.chmod(0o755)
    field()
    for name in "server", "packaging":
        (WORK / name).symlink_to(TOP / name)
    tina, charge = person("tina"), person("charge")
    person("op")
    charge.rename("/home/charge/.ssh/id_ed25519.unused")
    key = Path("/home/charge/.ssh/id_rsa")
    sh(f"ssh-keygen -q -t rsa -b 2048 -N '' -C SN-0042 -f {key}; cp {key}.pub /home/op/.ssh/authorized_keys")
    sh("install -d -m 700 /root/.ssh; rm -f /root/.ssh/*; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519;"
       f"cat /root/.ssh/id_ed25519.pub {tina}.pub >/root/.ssh/authorized_keys")
    Path("/etc/ssh/ssh_config.d").mkdir(exist_ok=True)
    Path("/etc/ssh/ssh_config.d/first.conf").write_text("StrictHostKeyChecking accept-new\n")
    for number in 1, 2:
        shutil.copy(TOP / f"packaging/custom_script{number}.sh", "/home/charge")
    Path("/etc/reachback").mkdir(exist_ok=True)
    Path("/etc/reachback/config").unlink(missing_ok=True)
    sh(f"ssh-keygen -q -t ed25519 -N '' -f {WORK}/SN-0043; echo \"SN-0043 $(cat {WORK}/SN-0043.pub)\" >{WORK}/fleet.txt;"
       f"echo firmware >{WORK}/firmware.bin; echo secret >{WORK}/tina.password; chmod 755 {WORK};"
       "mkdir -p /var/lib/prometheus/node-exporter /var/log/nginx; rm -f /etc/nginx/sites-enabled/*;"
       "openssl req -x509 -newkey rsa:2048 -nodes -keyout /etc/ssl/fleet.key -out /etc/ssl/fleet.crt -days 2 "
       "-subj /CN=fleet.example -addext 'subjectAltName=DNS:*.fleet.example' 2>&1; nginx")
    Sshd(Path("/var/log/auth.log"))


def tearDownModule():
    DASHBOARD.kill()
    DASHBOARD.wait()


class DocumentTest(unittest.TestCase):
    def test_its_commands_do_what_it_says(self):
        text = DOCUMENT.read_text()
        for line, language, who, commands in blocks(text):
            with self.subTest(line=line, commands=commands):
                if language == "sh":
                    self.after(commands, run(who, commands, line))
                elif language == "ssh_config":
                    self.asks_both(commands)

    def after(self, commands, said):
        """What the text says of a block's outcome."""
        if "-R /run/web:localhost:80" in commands:
            wait_for("the controller is up", lambda: " up " in sh("reachback-controllers list"))
        elif commands.startswith("cat server/ssh_config"):
            self.assertIn("load average", said)
            self.assertIn("the dashboard", said)
            self.assertEqual(Path("/root/firmware.bin").read_text(), "firmware\n")
        elif "nginx -s reload" in commands:
            there = "curl -s --cacert /etc/ssl/fleet.crt https://sn-0042.fleet.example/"
            wait_for("the name leads there", lambda: "the dashboard" in sh(f"{there} -u tina:secret", status=None))
            self.assertIn("401", sh(there))
        elif commands == "reachback-controllers list\n":
            self.assertRegex(said, r"SN-0042 +up .* ssh,web .*\nSN-0043 +down")
        elif "--html" in commands:
            self.assertTrue((BASE / "www/down/sn-0043.html").exists())
            self.assertIn('"SN-0042"} 1', Path("/var/lib/prometheus/node-exporter/reachback.prom").read_text())
        elif "-R 20042" in commands and "tunnel@" in commands:
            wait_for("both ports listen", lambda: {":20042", ":30042"} <= set(re.findall(r":\d+", sh("ss -Hltn"))))
            sh("reachback stop tunnel@hub.example")
        elif commands.startswith("awk"):
            sh("reachback stop --all")
        elif "ScriptForward" in commands:
            wait_for("both are there", lambda: " ssh,web " in sh("reachback-controllers list"))
            self.assertEqual(page(BASE / "by-name/sn-0042/web"), "the dashboard")
        elif "HostKey" in commands:
            ROTATION.append(Path("/etc/ssh/ssh_host_ed25519_new_key.pub").read_text().split()[1])
            ROTATION.append(Path("/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[1])
            self.assertFalse(pinned(ROTATION[0]))
        elif commands.startswith("pkill"):
            wait_for("the new key is pinned", lambda: pinned(ROTATION[0]))
            self.assertTrue(pinned(ROTATION[1]))
        elif "ssh_host_ed25519_key$" in commands:
            sh("pkill -u c-SN-0042")
            wait_for("the pin of the old key goes", lambda: not pinned(ROTATION[1]))
        elif "known-hosts forget" in commands:
            wait_for("the new key is pinned again", lambda: pinned(ROTATION[0]))
            wait_for("the controller is up", lambda: " up " in sh("reachback-controllers list"))
        elif "sed -i" in commands:
            wait_for("port 1111 listens", lambda: ":1111 " in sh("ss -Hltn"))
        elif "revoke" in commands:
            self.assertFalse((BASE / "c-SN-0042").exists())
        elif commands.startswith("grep"):
            self.assertIn("from 10.9.0.2", said)

    def asks_both(self, commands):
        Path("/root/.ssh/config").write_text(f"{commands}\nHost hub.example\nPort 9\n")
        self.assertIn("load average", sh("ssh SN-0042 uptime", env={**os.environ, "HOME": "/root"}))
        Path("/root/.ssh/config").unlink()

    def test_no_command_is_named_that_is_not_run(self):
        text = DOCUMENT.read_text()
        run_there = "".join(commands for _, language, _, commands in blocks(text) if language == "sh")
        prose = BLOCK.sub("", text)
        for code in re.findall(r"`([^`\n]+)`", prose):
            if code.startswith(PROGRAMS):
                self.assertIn(code, run_there)


if __name__ == "__main__":
    place.enter()
    unittest.main(verbosity=2)
