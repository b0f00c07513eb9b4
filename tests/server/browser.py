"""Headless Chromium: a page as a person's browser shows it. It asks nobody but this machine.

Debian has it as chromium-headless-shell; chromium is taken too.
"""

import shutil
import subprocess
import tempfile

PROGRAM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
TIMEOUT_S = 180
# Names of fleets and localhost are this machine, every other name is unknown.
NAMES = "MAP *.fleet.example 127.0.0.1, MAP fleet.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
         f"--host-resolver-rules={NAMES}"]


def show(url, *flags):
    """Opens the page with a new profile, and gives its document when it is loaded: scripts have run, pictures have come.

    `flags` are Chromium's. Raises if it does not end well within TIMEOUT_S.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run([PROGRAM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", *flags, url], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=TIMEOUT_S, check=True)
    return done.stdout
