#!/usr/bin/env python3
"""A browser's way to a controller by its name: nginx, and Caddy and Chromium where they are installed, with the kit's files.

    python3 tests/server/test_web.py     as root, with REACHBACK_BIN or a debug build
"""

import base64
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import unittest

import browser
import place
from place import KIT, Controller, Sshd, sh, wait_for
from web import PASSWORD, Nginx, browse, certificate

BASIC = "Basic " + base64.b64encode(f"tina:{PASSWORD}".encode()).decode()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Loaded is this page when its picture is there, and that comes after the script has shown what it was told.
LIVE = b"""<p id=said>nothing</p><img src=/picture><script>
const there = new WebSocket("wss://" + location.host + "/ws")
there.onopen = () => there.send("17.2 kW")
there.onmessage = event => { said.textContent = "now " + event.data; there.send("shown") }
</script>"""


class Dashboard:
    """A controller's web service: says what it was asked, and repeats what it is told on /ws; /live is a page that uses that."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self.listener.getsockname()[1]}"
        self.requests, self.received, self.shown = [], 0, threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            visitor = self.listener.accept()[0]
            threading.Thread(target=self.answer, args=(visitor,), daemon=True).start()

    def answer(self, visitor):
        with visitor, visitor.makefile("rb") as lines:
            request = [line.decode().strip() for line in iter(lines.readline, b"\r\n")]
            self.requests.append("\n".join(request))
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in request[1:])}
            if headers.get("upgrade", "").lower() == "websocket":
                key = hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()
                visitor.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\r\n\r\n")
                self.repeat(visitor, lines)
            else:
                self.received = len(lines.read(int(headers.get("content-length", 0))))
                path = request[0].split()[1]
                if path == "/picture":
                    self.shown.wait(place.PATIENCE_S)
                body = LIVE if path == "/live" else f"dashboard {request[0]}".encode()
                visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def repeat(self, visitor, lines):
        """Sends each text frame back (RFC 6455 section 5.2), short ones only."""
        while (head := lines.read(2)) and head[0] == 0x81:
            mask, masked = lines.read(4), lines.read(head[1] & 0x7F)
            text = bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked))
            if text == b"shown":
                self.shown.set()
            else:
                visitor.sendall(bytes([0x81, len(text)]) + text)


def setUpModule():
    global CONTROLLER, DASHBOARD, WHERE
    WHERE = place.furnish()
    Sshd()
    sh("getent passwd www-data || useradd --system www-data; useradd --system caddy", status=None)
    sh(f"{KIT}/setup --operators www-data,caddy")
    certificate()
    DASHBOARD = Dashboard()
    CONTROLLER = Controller(WHERE, "SN-0042", web=DASHBOARD.address)
    sh(f"reachback-controllers add SN-0042 {CONTROLLER.public}")
    CONTROLLER.start().up()


class Caddy:
    def __init__(self):
        text = (KIT / "Caddyfile").read_text()
        self.file = WHERE / "Caddyfile"
        digest = sh(f"caddy hash-password --plaintext '{PASSWORD}'").split()[-1]
        self.file.write_text(text.replace("HASH", digest))
        with open(WHERE / "caddy.log", "w") as log:
            self.process = subprocess.Popen(["setpriv", "--reuid=caddy", "--regid=caddy", "--init-groups", "--ambient-caps=+net_bind_service",
                                             "--inh-caps=+net_bind_service",
                                             "env", f"HOME={WHERE}", "caddy", "run", "--config", self.file, "--adapter", "caddyfile"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def close_door(self):
        self.file.write_text(self.file.read_text().replace("tina ", "nobody "))
        sh(f"caddy reload --config {self.file} --adapter caddyfile")

    def stop(self):
        self.process.terminate()
        self.process.wait(place.PATIENCE_S)


class Web:
    """What holds with either server."""

    server = None

    @classmethod
    def setUpClass(cls):
        cls.running = cls.server()
        cls.get("/", patient=True)

    @classmethod
    def tearDownClass(cls):
        cls.running.stop()

    @staticmethod
    def get(path, host="sn-0042.fleet.example", user=f"-u 'tina:{PASSWORD}'", more="", patient=False):
        retry = "--retry 30 --retry-all-errors --retry-delay 1" if patient else ""
        command = (f"curl -sS {retry} --cacert /etc/ssl/fleet.crt --resolve '*:443:127.0.0.1' {user} {more} "
                   f"-w '\\n%{{http_code}}' 'https://{host}{path}'")
        body, _, status = sh(command).rpartition("\n")
        return int(status), body

    def list(self):
        sh("reachback-controllers list --html /var/lib/reachback/www")

    def test_1_the_name_leads_to_the_controller(self):
        self.assertEqual(self.get("/a/b?c=%2Fd"), (200, "dashboard GET /a/b?c=%2Fd HTTP/1.1"))
        there = sh("curl -sS -o /dev/null -w '%{redirect_url}' http://SN-0042.fleet.example/x")
        self.assertEqual(there.lower(), "https://sn-0042.fleet.example/x")
        self.list()
        self.assertIn("<td>SN-0042</td>", self.get("/", host="fleet.example")[1])

    def test_2_nobody_gets_in_without_a_password_and_no_controller_sees_it(self):
        for host in ("sn-0042.fleet.example", "fleet.example"):
            self.assertEqual(self.get("/", host=host, user="")[0], 401)
            self.assertEqual(self.get("/", host=host, user="-u tina:wrong")[0], 401)
        self.get("/secret")
        seen = next(request for request in DASHBOARD.requests if "/secret" in request)
        self.assertNotIn("uthorization", seen)
        self.assertIn("Host: sn-0042.fleet.example", seen)

    def test_3_websockets_pass_both_ways(self):
        context = ssl.create_default_context(cafile="/etc/ssl/fleet.crt")
        with socket.create_connection(("127.0.0.1", 443), place.PATIENCE_S) as plain, \
                context.wrap_socket(plain, server_hostname="sn-0042.fleet.example") as there:
            there.sendall((f"GET /ws HTTP/1.1\r\nHost: sn-0042.fleet.example\r\nAuthorization: {BASIC}\r\n"
                           "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += there.recv(4096)
            self.assertIn(b" 101 ", answer)
            self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer)
            for text in b"hello", b"again":
                there.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
                self.assertEqual(there.recv(4096), bytes([0x81, len(text)]) + text)

    def test_4_a_large_upload_passes(self):
        sh(f"head -c 3000000 /dev/zero >{WHERE}/firmware.bin")
        self.assertEqual(self.get("/upload", more=f"--data-binary @{WHERE}/firmware.bin")[0], 200)
        self.assertEqual(DASHBOARD.received, 3000000)

    def test_5_a_name_leads_to_a_controller_or_nowhere(self):
        for host in ("sn-0043", "..", "c-SN-0042", "a.sn-0042"):
            status, body = self.get("/", more=f"-H 'Host: {host}.fleet.example'")
            # Caddy answers a host that it does not know with nothing.
            self.assertFalse(status == 200 and body, host)

    @unittest.skipUnless(browser.PROGRAM, "chromium is not installed")
    def test_6_in_a_browser_the_pages_script_talks_to_the_controller(self):
        DASHBOARD.shown.clear()
        self.assertIn("now 17.2 kW", browse("/live"))
        DASHBOARD.requests.clear()
        self.assertNotIn("dashboard", browse("/", user=""))
        self.assertEqual(DASHBOARD.requests, [])

    def test_7_what_is_down_says_since_when(self):
        CONTROLLER.stop()
        wait_for("it is down", lambda: " down " in sh("reachback-controllers list"))
        self.list()
        status, body = self.get("/")
        self.assertEqual(status, 502)
        self.assertRegex(body, r"SN-0042 is not connected(.|\n)*last seen \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
        self.assertEqual(self.get("/", user="")[0], 401)
        if browser.PROGRAM:
            self.assertIn("SN-0042 is not connected", browse("/live"))
        CONTROLLER.start().up()
        self.list()
        self.assertEqual(self.get("/back")[0], 200)

    def test_8_without_its_passwords_the_door_is_shut(self):
        self.running.close_door()
        self.assertIn(self.get("/")[0], (401, 403, 500))


@unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
class NginxTest(Web, unittest.TestCase):
    server = Nginx


@unittest.skipUnless(shutil.which("caddy"), "caddy is not installed")
class CaddyTest(Web, unittest.TestCase):
    server = Caddy


if __name__ == "__main__":
    place.enter()
    unittest.main(verbosity=2)
