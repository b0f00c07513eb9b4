#!/usr/bin/env python3
"""What the init script starts at boot: Host blocks, on a read-only root, with a volatile /etc.

    make buildroot-check    or    python3 tests/packaging/test_at_boot.py

Each class is one device with one SSH server beside it; its tests run in their order.
"""

import sys
import unittest

import device
from device import wait_log
from on_device import BACK_WITHIN_S, KEY, OnADevice
from ssh_server import free_ports, is_listening


class HostBlocks(OnADevice):
    """Tunnels of the configuration that are started at boot, and a script's beside them."""

    def configure(self, *blocks):
        self.device.write("/etc/reachback/config", "".join(blocks))

    def script(self):
        """A script's tunnel to a destination of its own."""
        other = self.destination.replace("127.0.0.1", "127.0.0.4")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.shell} /home/charge/custom_script2.sh {other}")
        self.device.wait(lambda: is_listening(self.shell), "the script's forward")

    def test_1_start_starts_each_of_them_and_one_that_fails_keeps_no_other(self):
        self.configure(self.block("broken", "127.0.0.4", 1).replace(KEY, "/nonexistent"),
                       self.block("first", "127.0.0.1", self.first),
                       self.block("second", "127.0.0.2", self.second, more="  ExitOnForwardFailure yes\n"))
        self.assertRegex(self.init("start", status=66), r"/nonexistent(.|\n)*FAIL")
        self.wait_for(self.first, self.second)
        self.assertEqual(sorted(self.own().values()), ["boot:first", "boot:second"])
        self.assertEqual(len(self.device.pids()), 2)

    def test_2_a_second_start_adds_only_what_is_missing(self):
        before = self.own()
        self.configure(self.block("first", "127.0.0.1", self.first),
                       self.block("second", "127.0.0.2", self.second))
        gone = next(pid for pid, what in before.items() if what == "boot:first")
        self.device.check(f"kill {gone}")
        self.device.wait(lambda: self.device.pids() != list(before), "one has ended")
        self.assertIn("OK", self.init("start"))
        self.wait_for(self.first, self.second)
        after = self.own()
        self.assertEqual(sorted(after.values()), ["boot:first", "boot:second"])
        self.assertEqual(set(before) & set(after), set(before) - {gone})

    def test_3_restart_keeps_all_forwards_and_takes_up_what_is_new(self):
        third = free_ports(1)[0]
        self.script()
        self.device.check(f"REACHBACK_REMOTE_PORT={third} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(third), "a forward that a script handed to the service's tunnel")
        before = self.device.pids()
        new, changed = free_ports(2)
        self.configure(self.block("first", "127.0.0.1", changed),
                       self.block("second", "127.0.0.2", self.second),
                       self.block("new", "127.0.0.3", new))
        self.assertIn("OK", self.init("restart"))
        self.wait_for(changed, self.second, new, timeout_s=BACK_WITHIN_S)
        self.device.wait(lambda: is_listening(third) and is_listening(self.shell), "the scripts' forwards, again")
        self.assertFalse(is_listening(self.first), "it is not in the configuration any more")
        self.assertEqual(sorted(self.own().values()), ["boot:first", "boot:new", "boot:second"])
        self.assertEqual(len(self.device.pids()), 4)
        self.assertLess(set(before), set(self.device.pids()))

    def test_4_a_block_that_is_not_wanted_any_more_ends_with_the_next_restart(self):
        self.configure(self.block("second", "127.0.0.2", self.second))
        self.assertIn("OK", self.init("restart"))
        self.wait_for(self.second)
        self.assertEqual(list(self.own().values()), ["boot:second"])

    def test_5_a_program_that_could_not_start_a_tunnel_leaves_it_alone(self):
        useless = self.scratch / "useless"
        useless.write_text("""#!/bin/sh
case "$*" in --version) ;; "boot --list") echo second ;; *) exit 70 ;; esac
""")
        before = self.device.pids()
        self.device.put_program(useless)
        outcome = self.device.init("restart")
        self.device.put_program(device.PROGRAM)
        self.assertNotEqual(outcome.status, 0)
        self.assertIn("FAIL", outcome.output)
        self.wait_for(self.second, timeout_s=BACK_WITHIN_S)
        self.assertEqual(self.device.pids(), before)

    def test_6_arguments_and_blocks_go_together(self):
        self.default(self.first)
        self.assertIn("OK", self.init("start"))
        self.wait_for(self.first, self.second)
        self.assertEqual(sorted(self.own().values()), ["args", "boot:second"])
        self.init("reload")
        self.assertEqual(len(self.device.pids()), 3)

    def test_7_stop_ends_the_services_tunnels_and_leaves_the_scripts(self):
        self.assertIn("OK", self.init("stop"))
        self.assertEqual(len(self.device.pids()), 1)
        self.assertEqual(self.own(), {})
        self.assertFalse(is_listening(self.first) or is_listening(self.second))
        self.assertTrue(is_listening(self.shell))
        self.assertIn("OK", self.init("stop"))
        self.assertTrue(is_listening(self.shell))

    def test_8_without_the_network_start_is_as_quick(self):
        self.device.check("reachback stop --all")
        self.device.write("/etc/default/reachback", "")
        self.server.stop()
        self.addCleanup(self.server.start)
        self.configure(self.block("first", "127.0.0.1", self.first, more="  ExitOnForwardFailure yes\n"),
                       self.block("second", "127.0.0.2", self.second))
        took, said = device.seconds(lambda: self.init("start"))
        self.assertIn("Starting reachback: OK", said)
        self.assertLess(took, BACK_WITHIN_S)
        self.assertEqual(len(self.device.pids()), 2)


class OnAReadOnlyRoot(OnADevice):
    """Only /run and /var/log can be written; the server was pinned at the factory."""

    @classmethod
    def prepare(cls):
        known = cls.scratch / "known_hosts"
        host_key = (cls.server.directory / "host_key.pub").read_text().split()[:2]
        known.write_text(f"[127.0.0.1]:{cls.sshd_port} {' '.join(host_key)}\n")
        cls.options = {"KNOWN_HOSTS_FILE": f'"{known}"'}

    def test_1_a_pinned_server_is_reached(self):
        self.default(self.first)
        self.device.check("mount -o remount,ro,bind /")
        self.assertNotEqual(self.device.run("touch /root/x").status, 0)
        self.init("start")
        self.wait_for(self.first)

    def test_2_restart_works_as_well(self):
        self.init("restart")
        self.wait_for(self.first, timeout_s=BACK_WITHIN_S)

    def test_3_an_unknown_server_is_pinned_in_memory_and_that_is_in_the_log(self):
        other = self.destination.replace("127.0.0.1", "localhost")
        self.device.check(f"reachback -f -y -i {KEY} -R {self.second}:127.0.0.1:{self.target} {other}")
        wait_log(self.device, "cannot write the known hosts: /etc/reachback/known_hosts")
        self.wait_for(self.second)


class OnAVolatileEtc(OnADevice):
    """A read-only root, and an /etc in memory that is the image's again after every boot."""

    def boot(self):
        """What the firmware does before the init scripts, and then ours."""
        self.device.check("umount /etc 2>/dev/null; killall reachback 2>/dev/null; rm -rf /run/reachback; true")
        self.device.wait(lambda: not self.device.pids(), "nothing runs")
        self.device.check("mount -t tmpfs tmpfs /tmp && cp -a /etc/. /tmp && mount --move /tmp /etc")
        return self.init("start")

    def test_1_the_tunnels_of_the_image_are_there_after_a_boot(self):
        block = self.block("hub", "127.0.0.2", self.second) + "  UserKnownHostsFile /etc/reachback/known_hosts\n"
        self.device.write("/etc/reachback/config", block)
        self.default(self.first, more="-o UserKnownHostsFile=/etc/reachback/known_hosts")
        self.device.check("mount -o remount,ro,bind /")
        self.assertIn("OK", self.boot())
        self.wait_for(self.first, self.second)
        self.assertNotEqual(self.device.run("touch /root/x").status, 0)

    def test_2_what_was_pinned_and_configured_there_lasts_until_the_next_boot(self):
        self.device.check("grep -qF '[127.0.0.2]' /etc/reachback/known_hosts")
        self.device.check("echo >/etc/reachback/config && echo >/etc/default/reachback")
        self.init("restart")
        self.assertEqual(self.device.pids(), [])
        mark = self.device.log().count("accepted and pinned")
        self.assertIn("OK", self.boot())
        self.wait_for(self.first, self.second)
        self.assertEqual(self.device.log().count("accepted and pinned"), mark + 2)

    def test_3_restart_and_stop_work_there_too(self):
        self.init("restart")
        self.wait_for(self.first, self.second, timeout_s=BACK_WITHIN_S)
        self.assertIn("OK", self.init("stop"))
        self.assertEqual(self.device.pids(), [])


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
