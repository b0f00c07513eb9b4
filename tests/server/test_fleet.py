#!/usr/bin/env python3
"""fleet.py counts what happens to three controllers. What it measures with hundreds is docs/fleet.md.

    python3 tests/server/test_fleet.py     as root, with REACHBACK_BIN or a debug build
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FLEET = Path(__file__).resolve().parent / "fleet.py"


class FleetTest(unittest.TestCase):
    def test_all_are_seen_to_come_back_and_their_logins_are_counted(self):
        if os.geteuid() or not shutil.which("nft"):
            self.skipTest("needs root and nftables")
        with tempfile.TemporaryDirectory() as where:
            file = Path(where) / "figures.json"
            done = subprocess.run([sys.executable, FLEET, "reachback", file], input="cold\nflapping\n", text=True, capture_output=True,
                                  env={**os.environ, "FLEET": "3", "FLEET_FLAP": "1", "FLEET_FLAPS": "1"})
            if "skipped" in done.stdout:
                self.skipTest(done.stdout)
            self.assertEqual(done.stdout.split(), ["ready", "cold", "flapping"], done.stderr)
            for name, phase in json.loads(file.read_text())["phases"].items():
                with self.subTest(name):
                    self.assertEqual(len(phase["back_s"]), 3)
                    _, connections, drops, logins, back = phase["rows"][-1]
                    self.assertGreaterEqual(connections, 3)
                    self.assertGreaterEqual(logins, 3)
                    self.assertEqual((drops, back), (0, 3))
                    self.assertGreater(phase["cpu_s"], 0)


if __name__ == "__main__":
    unittest.main()
