#!/usr/bin/env python3
"""The last part of `make demo OCPP=1`: a server with the kit of server/, a booted controller that OCPP sends there, and
its dashboard in headless Chromium by its name, with nginx's password in front. As root, in a place of its own (tests/server).
"""

import os
import shutil
import sys
import time

import controller as arm
import image
import through

sys.path.insert(1, str(image.TOP / "tests/server"))

import browser
import by_ocpp
import place
import web
from place import sh

NAME = "SN-0042"
PAGES = "reachback-controllers list --html /var/lib/reachback/www"
FLEET = f"""echo {NAME} >/etc/serial
cat >>/etc/reachback/config <<END
SerialFile /etc/serial
ScriptUser c-%s
ScriptForward 1111 /run/ssh
ScriptForward 1112 /run/web
END
reachback check"""
VALUE = f"op@{arm.HOST_ADDRESS}"
started = time.monotonic()


def say(text, *lines):
    print("\n".join([f"[{time.monotonic() - started:5.1f} s] {text}", *(f"          | {line}" for line in lines)]), flush=True)


def serve():
    """The server: sshd, the kit, a certificate, nginx."""
    place.Sshd()
    sh(f"getent passwd www-data || useradd --system www-data; rm -f /etc/nginx/sites-enabled/*; {place.KIT}/setup --operators www-data")
    web.certificate()
    sh(f"reachback-controllers add {NAME} - <<'END'\n{image.public_line(image.KEYS / 'charge')}\nEND")
    return web.Nginx()


def listed(sockets):
    """Waits until the list has the controller with these sockets; prints its line, and the pages are written."""
    wanted = ",".join(name for name, there in zip(("ssh", "web"), sockets) if there)
    def row():
        return next((line for line in sh(PAGES).splitlines() if line.split()[4:5] == [wanted or "-"]), None)
    say("On the server: reachback-controllers list", arm.wait_until(row, 60, f"the list has {wanted or 'nothing'}"))


def main():
    print("\nThe same controller in a fleet", flush=True)
    server = serve()
    say(f"A stock sshd with server/setup, nginx with server/nginx.conf; {NAME} is enrolled. Booting the controller ...")
    with arm.Controller() as controller:
        say("Its configuration says which controller it is and where the scripts' forwards go:", *FLEET.splitlines()[2:-2])
        controller.check(FLEET)
        values = [("1.6", 1, VALUE, "Accepted", None), ("2.0.1", 2, VALUE, "Accepted", (True, True))]
        by_ocpp.show(controller, values, {1: 1111, 2: 1112}, listed, say)
        picture = image.BUILD / "dashboard-by-name.png"
        page = web.browse("/", "--window-size=1300,230", f"--screenshot={picture}")
        assert through.DASHBOARD_LINE in page, page
        say(f"Chromium: https://{NAME}.fleet.example/", through.DASHBOARD_LINE, f"a picture of it: {picture}")
        off = [("1.6", 1, "off", "Accepted", None), ("2.0.1", 2, "off", "Accepted", (False, False))]
        by_ocpp.show(controller, off, {1: 1111, 2: 1112}, listed, say)
        page = web.browse("/")
        assert f"{NAME} is not connected" in page, page
        say(f"Chromium: https://{NAME}.fleet.example/", f"{NAME} is not connected ...")
    server.stop()
    say("Controller and server are gone; nothing is left running.")


if __name__ == "__main__":
    os.environ.setdefault("REACHBACK_BIN", str(image.REACHBACK))
    if not browser.PROGRAM or not shutil.which("nginx"):
        print("skipped: the dashboard by name in a browser; chromium and nginx come with scripts/setup.sh host")
        sys.exit()
    place.enter()
    arm.end_on_signals()
    place.furnish()
    try:
        main()
    except (arm.ControllerError, AssertionError) as error:
        sys.exit(f"demo: {error}")
