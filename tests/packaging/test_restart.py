#!/usr/bin/env python3
"""A restart of the init script where something is not as it was: what cannot be brought back
is left alone, what is not wanted any more goes, what others handed over stays.

    make buildroot-check    or    python3 tests/packaging/test_restart.py

Each class is one device with one SSH server beside it; its tests run in their order.
"""

import sys
import unittest

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
        script = next(pid for pid in self.device.pids() if pid not in self.own())
        return next(iter(self.own())), script

    def failed_restart(self, says):
        self.assertRegex(self.init("restart", status=1), says)
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.assertTrue(answers(self.first))
        return self.device.pids()

    def test_1_wrong_arguments(self):
        service, script = self.tunnels()
        self.device.write("/etc/default/reachback", 'REACHBACK_ARGS="-N -R 1111 me@hub"\n')
        after = self.failed_restart(r"bad -R: 1111(.|\n)*FAIL: left alone, .*: args\n")
        self.assertIn(service, after)
        self.assertNotIn(script, after)
        self.default(self.first)
        self.init("restart")
        self.assertNotIn(service, self.device.pids())

    def test_2_a_key_that_is_not_there(self):
        block = self.block("hub", "127.0.0.1", self.first)
        service, script = self.tunnels(block)
        self.device.write("/etc/reachback/config", block.replace(KEY, "/nonexistent"))
        after = self.failed_restart(r"/nonexistent(.|\n)*FAIL: left alone, .*: boot:hub\n")
        self.assertIn(service, after)
        self.assertNotIn(script, after)

    def test_3_the_key_of_a_scripts_tunnel_is_gone(self):
        service, script = self.tunnels()
        self.device.check(f"mv {KEY} {KEY}.away")
        self.addCleanup(self.device.check, f"mv {KEY}.away {KEY}")
        after = self.failed_restart(fr"{KEY}(.|\n)*FAIL: left alone, .*: (args process {script}|process {script} args)\n")
        self.assertEqual(set(after), {service, script})

    def test_4_a_user_that_does_not_exist(self):
        before = self.tunnels()
        self.device.write("/etc/default/reachback",
                          f'REACHBACK_ARGS="{self.arguments(self.first)}"\nREACHBACK_USER=nobodyhere\n')
        after = self.failed_restart(r"nobodyhere(.|\n)*FAIL: .* for nobodyhere.* left alone")
        self.assertEqual(set(after), set(before))

    def test_5_a_user_that_cannot_read_the_key(self):
        before = self.tunnels()
        self.device.write("/etc/default/reachback",
                          f'REACHBACK_ARGS="{self.arguments(self.first)}"\nREACHBACK_USER=charge\n')
        self.device.check(f"chmod 700 /home/charge/.ssh && chown 0:0 /home/charge/.ssh {KEY}")
        # Neither can root's tunnel of a script be started where the directory is charge's.
        after = self.failed_restart(r"not the directory of user 0(.|\n)*FAIL: left alone, .*: .*args")
        self.assertEqual(set(after), set(before))
        self.default(self.first)
        self.assertIn("OK", self.init("restart"))
        self.wait_for(self.first)

    def test_6_a_tool_that_is_missing(self):
        before = self.tunnels()
        for tool in ("start-stop-daemon", "xargs"):
            with self.subTest(tool=tool):
                self.device.check(f"sed 's/{tool} -/{tool}-away -/' /etc/init.d/S60reachback >/tmp/S60")
                outcome = self.device.run("sh /tmp/S60 restart")
                self.assertEqual(outcome.status, 1, outcome.output)
                self.assertRegex(outcome.output, fr"{tool}-away: not found(.|\n)*left alone")
                after = self.device.pids()
                self.assertIn(before[1], after)
                self.assertEqual(before[0] in after, tool == "start-stop-daemon")
                self.wait_for(self.first)

    def test_7_a_run_that_cannot_be_written(self):
        before = self.tunnels()
        self.device.check("mount -t tmpfs tmpfs /tmp && cp -a /run/. /tmp && mount --bind /run /run")
        self.device.check("mount -o remount,ro,bind /run")
        try:
            said = self.init("restart", status=1)
        finally:
            self.device.check("umount /run; umount /tmp")
        self.assertRegex(said, r"Read-only(.|\n)*FAIL: .*left alone")
        self.assertEqual(set(self.device.pids()), set(before))

    def test_8_start_says_that_too(self):
        self.default(self.first)
        self.device.check("rm -rf /run/reachback && mount --bind /run /run && mount -o remount,ro,bind /run")
        try:
            said = self.init("start", status=1)
        finally:
            self.device.check("umount /run")
        self.assertRegex(said, r"Read-only(.|\n)*FAIL: no /run/reachback for root")


class OneServer(OnADevice):
    """Blocks and arguments that lead to one server share one tunnel."""

    def configure(self, **ports):
        self.device.write("/etc/reachback/config",
                          "".join(self.block(name, "127.0.0.1", port) for name, port in ports.items()))

    def closed(self, port):
        self.device.wait(lambda: not is_listening(port), f"server port {port} is closed")

    def test_1_a_forward_that_no_block_names_any_more_is_gone_after_a_restart(self):
        self.configure(a=self.first, b=self.second)
        self.init("start")
        self.wait_for(self.first, self.second)
        self.assertEqual(list(self.own().values()), ["boot:a"])
        self.init("start")
        self.configure(a=self.first, b=self.shell)
        self.init("restart")
        self.wait_for(self.first, self.shell)
        self.closed(self.second)
        self.configure(a=self.first)
        self.init("restart")
        self.wait_for(self.first)
        self.closed(self.shell)

    def test_2_the_other_block_takes_the_tunnel_over(self):
        self.configure(a=self.first, b=self.second)
        self.init("restart")
        self.wait_for(self.first, self.second)
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

    def test_4_the_scripts_forward_goes_with_the_tunnel_to_a_block_of_another_name(self):
        self.configure(renamed=self.first)
        self.assertIn("OK", self.init("restart"))
        self.wait_for(self.first)
        self.closed(self.second)
        self.device.wait(lambda: is_listening(self.shell), "the script's forward")
        self.assertEqual(list(self.own().values()), ["boot:renamed"])

    def test_5_where_no_tunnel_leads_there_any_more_it_is_lost_and_that_is_said(self):
        self.configure()
        self.assertRegex(self.init("restart", status=1), fr"{self.destination} forward {self.shell}:(.|\n)*FAIL")
        self.assertEqual(self.device.pids(), [])

    def test_6_arguments_and_a_block(self):
        self.default(self.first)
        self.configure(b=self.second)
        self.init("start")
        self.wait_for(self.first, self.second)
        self.assertEqual(list(self.own().values()), ["args"])
        self.configure()
        self.init("reload")
        self.assertTrue(answers(self.second), "what was handed over stays until a restart")
        self.init("restart")
        self.wait_for(self.first)
        self.closed(self.second)

    def test_7_the_same_where_a_scripts_tunnel_was_there_first(self):
        self.init("stop")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.shell} /home/charge/custom_script2.sh {self.destination}")
        self.init("start")
        self.wait_for(self.first)
        self.assertEqual(self.own(), {})
        self.device.write("/etc/default/reachback", "")
        self.init("restart")
        self.device.wait(lambda: is_listening(self.shell), "the script's forward")
        self.closed(self.first)
        self.device.check("reachback stop")
        self.init("stop")
        self.assertNotIn("reachback.", self.device.check("ls -A /run"))


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
        self.init("restart", status=1)
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
