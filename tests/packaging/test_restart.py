#!/usr/bin/env python3
"""A restart of the init script where something is not as it was: what cannot be brought back
is left as it is, what is not wanted any more goes, what others handed over stays.

    make buildroot-check    or    python3 tests/packaging/test_restart.py

Each class is one device with one SSH server beside it; its tests run in their order.
"""

import re
import subprocess
import sys
import unittest

import device
from on_device import KEY, OnADevice, answers
from ssh_server import is_listening


class LeftAlone(OnADevice):
    """The tunnel may be the one that the technician came through: it stays until what replaces
    it holds on this machine."""

    def tunnels(self, block=None):
        """The service's, of arguments or of a block, and a script's: their processes."""
        self.device.write("/etc/reachback/config", block or "")
        self.device.write("/etc/default/reachback", "")
        if not block:
            self.default(self.first)
        self.init("start")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.second} /home/charge/custom_script2.sh "
                          f"{self.destination.replace('127.0.0.1', '127.0.0.2')}")
        self.wait_for(self.first)
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.addCleanup(self.device.run, "reachback stop --all")
        return set(self.device.pids())

    def failed_restart(self, says, before):
        outcome = self.device.init("restart")
        self.assertNotEqual(outcome.status, 0, outcome.output)
        self.assertRegex(outcome.output, says)
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.wait_for(self.first)
        self.assertEqual(set(self.device.pids()), before)

    def test_1_wrong_arguments(self):
        before = self.tunnels()
        self.device.write("/etc/default/reachback", 'REACHBACK_ARGS="-N -R 1111 me@hub"\n')
        self.failed_restart(r"bad -R: 1111(.|\n)*FAIL: what was running is left as it is\n", before)
        self.default(self.first)
        self.assertIn("OK", self.init("restart"))

    def test_2_a_key_that_is_not_there(self):
        block = self.block("hub", "127.0.0.1", self.first)
        before = self.tunnels(block)
        self.device.write("/etc/reachback/config", block.replace(KEY, "/nonexistent"))
        self.failed_restart(r"/nonexistent(.|\n)*FAIL\n", before)

    def test_3_the_key_of_a_scripts_tunnel_is_gone(self):
        before = self.tunnels()
        self.device.check(f"mv {KEY} {KEY}.away")
        self.addCleanup(self.device.check, f"mv {KEY}.away {KEY}")
        self.failed_restart(fr"{KEY}(.|\n)*FAIL: what was running is left as it is\n", before)

    def test_4_a_user_that_does_not_exist(self):
        before = self.tunnels()
        self.device.write("/etc/reachback/config", "RunAsUser nobodyhere\n")
        self.failed_restart(r"nobodyhere(.|\n)*FAIL: what was running is left as it is\n", before)
        self.device.write("/etc/reachback/config", "")

    def test_5_a_run_that_cannot_be_written(self):
        self.default(self.first)
        self.device.check("rm -rf /run/reachback && mount --bind /run /run && mount -o remount,ro,bind /run")
        try:
            said = self.init("start", status=77)
        finally:
            self.device.check("umount /run")
        self.assertRegex(said, r"Read-only(.|\n)*FAIL")


class WayBack(OnADevice):
    """The recipe of docs/upgrade.md that brings the old program back, as it stands there."""

    def begin(self, wait_s):
        """Keeps a program and begins the recipe, which waits for so long."""
        text = (device.TOP / "docs/upgrade.md").read_text()
        recipe, = re.findall(r"^\(trap .* &$", text, re.MULTILINE)
        self.assertIn("sleep 600 ", recipe)
        self.device.check("cp /usr/bin/reachback /usr/bin/reachback.keep && touch -d @0 /usr/bin/reachback.keep")
        self.device.check(recipe.replace("sleep 600", f"sleep {wait_s}"))

    def is_back(self):
        return self.device.run("test /usr/bin/reachback -ot /etc/passwd && test ! -e /usr/bin/reachback.keep").status == 0

    def ended(self):
        self.device.wait(lambda: self.device.run("pgrep -f [r]eachback.keep").status != 0, "the end of the recipe")

    def test_1_cancelled_by_the_end_of_its_wait_it_does_nothing(self):
        self.begin(600)
        self.device.wait(lambda: self.device.run("killall sleep").status == 0, "the wait")
        self.ended()
        self.assertFalse(self.is_back())
        self.device.check("test -e /usr/bin/reachback.keep")

    def test_2_without_the_file_it_does_nothing(self):
        self.default(self.first)
        self.init("start")
        before = self.device.pids()
        self.begin(1)
        self.device.check("rm /usr/bin/reachback.keep")
        self.ended()
        self.assertFalse(self.is_back())
        self.assertEqual(self.device.pids(), before)

    def test_3_left_alone_it_brings_the_old_program_back(self):
        self.begin(1)
        self.device.wait(self.is_back, "the old program")
        self.wait_for(self.first)


EVIL = r"""
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	if (geteuid() == 0)
		return open("/root/taken", O_CREAT | O_WRONLY, 0600) < 0;
	open("/tmp/x.lock", O_CREAT | O_RDWR, 0600);
	close(open("/tmp/x.orders", O_CREAT | O_RDWR, 0600));
	setsid();
	for (;;)
		pause();
}
"""


class Untrusted(OnADevice):
    """Another user's process, in a mount namespace of its own, whose executable reads
    /usr/bin/reachback: nothing that it says about itself is believed, and nothing of it is run."""

    def test_no_action_of_the_service_runs_it_or_signals_it(self):
        evil = self.device.root / "tmp/evil"
        source = self.scratch / "evil.c"
        source.write_text(EVIL)
        subprocess.run(["cc", "-static", "-o", evil, source], check=True)
        (self.device.root / "tmp").chmod(0o1777)
        root = self.device.root
        (root / "mnt").mkdir(exist_ok=True)
        disguise = (f"mount --bind {root}/tmp/evil {root}/usr/bin/reachback && cd {root} && "
                    "pivot_root . mnt && exec /bin/su -s /usr/bin/reachback charge")
        enter = ["nsenter", "--target", str(self.device.inside), "--mount", "--pid"]
        with subprocess.Popen([*enter, "unshare", "--mount", "sh", "-c", disguise]) as process:
            try:
                self.device.wait(lambda: (root / "tmp/x.orders").exists(), "the other user's process")
                shown = self.device.check("for p in /proc/[0-9]*; do readlink $p/exe; done")
                self.assertIn("/usr/bin/reachback", shown.split("\n"))
                self.default(self.first)
                for action in ("start", "reload", "restart", "stop", "restart", "stop"):
                    self.init(action)
                    self.assertFalse((root / "root/taken").exists(), f"{action}: run as root")
                    self.assertIsNone(process.poll(), f"{action}: signalled")
            finally:
                process.kill()


class OneServer(OnADevice):
    """Blocks and arguments that lead to one server share one tunnel."""

    def configure(self, **ports):
        self.device.write("/etc/reachback/config",
                          "".join(self.block(name, "127.0.0.1", port) for name, port in ports.items()))

    def closed(self, port):
        self.device.wait(lambda: not is_listening(port), f"server port {port} is closed")

    def test_1_a_block_that_is_not_wanted_any_more_takes_its_forward_along(self):
        self.configure(a=self.first, b=self.second)
        self.init("start")
        self.wait_for(self.first, self.second)
        self.assertEqual(list(self.own().values()), ["boot:a"])
        self.configure(a=self.first)
        self.init("restart")
        self.wait_for(self.first)
        self.closed(self.second)

    def test_2_the_other_block_takes_the_tunnel_over(self):
        self.configure(b=self.second)
        self.init("restart")
        self.wait_for(self.second)
        self.closed(self.first)
        self.assertEqual(list(self.own().values()), ["boot:b"])

    def test_3_a_restart_keeps_what_is_wanted_and_what_a_script_handed_over(self):
        self.configure(a=self.first, b=self.second)
        self.init("restart")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.shell} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(self.shell), "the script's forward")
        for _ in range(2):
            self.init("restart")
            self.wait_for(self.first, self.second)
            self.device.wait(lambda: is_listening(self.shell), "the script's forward")
        self.assertEqual(len(self.device.pids()), 1)


class Words(OnADevice):
    """Names and arguments that a shell would take for something else."""

    def test_1_a_name_that_is_no_host_is_refused_and_keeps_no_other_from_it(self):
        quiet = self.block("hub", "127.0.0.2", self.second).replace("  StartAtBoot yes\n", "")
        self.device.write("/etc/reachback/config", 'Host "my hub"\n  StartAtBoot yes\n' + quiet +
                          self.block("good", "127.0.0.1", self.first))
        self.assertRegex(self.init("start", status=78), r"boot: my hub: bad Host name(.|\n)*FAIL")
        self.wait_for(self.first)
        self.assertEqual(list(self.own().values()), ["boot:good"])
        self.assertFalse(is_listening(self.second))
        self.assertNotEqual(self.device.init("restart").status, 0)
        self.assertTrue(answers(self.first))
        self.init("stop")
        self.device.write("/etc/reachback/config", "")

    def test_2_an_asterisk_in_the_arguments_is_not_for_the_shell(self):
        forward = f"*:{self.second}:127.0.0.1:{self.target}"
        self.device.check(f"mkdir /files && touch '/files/x:{self.second}:127.0.0.1:{self.target}'")
        self.default(self.first, more=f"-R {forward}")
        outcome = self.device.run("cd /files && sh /etc/init.d/S60reachback start")
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait_for(self.first, self.second)
        self.assertIn("on all addresses", self.device.check("reachback status"))


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
