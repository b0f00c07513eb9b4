#!/usr/bin/env python3
"""The installed files on a device: BusyBox, the package's own layout, the real program.

    make buildroot-check    or    python3 tests/packaging/test_init.py

Each class is one device with one SSH server beside it; its tests run in their order.
What is started at boot is in test_at_boot.py.
"""

import os
import subprocess
import sys
import unittest

import device
from device import wait_log
from on_device import BACK_WITHIN_S, KEY, OnADevice, answers
from ssh_server import free_ports, is_listening


class WithAKey(OnADevice):
    """The service's life, upgrades included."""

    def test_01_nothing_is_started_where_no_arguments_are(self):
        self.assertIn("nothing to start", self.init("start"))
        self.assertEqual(self.device.pids(), [])
        self.assertIn("no tunnel is running", self.init("status", status=2))
        self.assertIn("OK", self.init("stop"))
        self.assertIn("OK", self.init("reload"))

    def test_02_arguments_that_are_wrong_are_a_failure_with_its_reason(self):
        self.default(self.first, more="--nonsense")
        self.assertRegex(self.init("start", status=64), r"nonsense(.|\n)*FAIL")
        self.assertEqual(self.device.pids(), [])

    def test_03_start_brings_the_tunnel_up(self):
        self.default(self.first)
        self.assertIn("Starting reachback: OK", self.init("start"))
        self.wait_for(self.first)
        self.assertEqual(self.device.check("ls -ld /run/reachback").split()[:3:2], ["drwx------", "root"])
        self.assertEqual(list(self.own().values()), ["args"])
        self.assertEqual(self.device.pids(), list(self.own()))
        self.assertIn(" up for ", self.init("status"))

    def test_04_the_server_is_pinned_in_the_home_of_passwd_not_in_that_of_init(self):
        self.device.check("grep -q 127.0.0.1 /root/.ssh/known_hosts && test ! -e /.ssh")

    def test_05_a_second_start_changes_nothing(self):
        before = self.device.pids()
        self.assertIn("OK", self.init("start"))
        self.assertEqual(self.device.pids(), before)

    def test_06_reload_reads_the_configuration_in_the_same_process(self):
        before = self.device.pids()
        self.device.write("/etc/reachback/config", f"RemoteForward {self.second} 127.0.0.1:{self.target}\n")
        self.init("reload")
        self.wait_for(self.first, self.second)
        self.assertEqual(self.device.pids(), before)
        self.device.write("/etc/reachback/config", "")
        self.init("reload")
        self.device.wait(lambda: not is_listening(self.second), "the forward is taken away")

    def test_07_restart_brings_the_forward_back_within_seconds(self):
        before = self.device.pids()
        took, _ = device.seconds(lambda: (self.init("restart"), self.wait_for(self.first)))
        self.assertLess(took, BACK_WITHIN_S)
        self.renewed(1)
        self.assertEqual(self.device.pids(), before)
        self.assertEqual(list(self.own()), before)

    def test_08_a_forward_that_a_script_handed_over_survives_the_restart(self):
        self.device.check(f"REACHBACK_REMOTE_PORT={self.second} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.assertEqual(len(self.device.pids()), 1)
        self.init("restart")
        self.device.wait(lambda: is_listening(self.second), "the script's forward, again", BACK_WITHIN_S)
        self.wait_for(self.first)
        self.assertEqual(len(self.device.pids()), 1)

    def test_09_a_program_that_does_not_run_leaves_the_old_one_alone(self):
        before = self.device.pids()
        broken = self.scratch / "broken"
        broken.write_text("#!/bin/sh\nexit 1\n")
        self.device.put_program(broken)
        self.assertIn("left as it is", self.init("restart", status=1))
        self.assertEqual(self.device.pids(), before)
        self.assertTrue(answers(self.first))

    def test_10_a_program_that_runs_but_could_not_start_the_tunnel_leaves_it_alone(self):
        before = self.device.pids()
        useless = self.scratch / "useless"
        useless.write_text('#!/bin/sh\ncase $1 in --version | boot) exit 0 ;; esac\nexit 70\n')
        self.device.put_program(useless)
        self.assertIn("left as it is", self.init("restart", status=1))
        self.assertEqual(self.device.pids(), before)
        self.assertTrue(answers(self.first))

    def test_11_the_next_restart_runs_the_program_that_is_installed_then(self):
        self.device.put_program(device.PROGRAM)
        before, count = self.device.pids(), self.count_renewed()
        self.assertIn("OK", self.init("restart"))
        self.renewed(count + 1)
        self.wait_for(self.first, timeout_s=BACK_WITHIN_S)
        programs = self.device.check("for p in /proc/[0-9]*; do readlink $p/exe; done | grep reachback")
        self.assertEqual(set(programs.split("\n")), {"/usr/bin/reachback", ""})
        self.assertEqual(self.device.pids(), before)

    def test_12_reload_works_in_a_process_that_a_restart_began(self):
        before = self.device.pids()
        mark = self.device.log().count("onfiguration")
        self.init("reload")
        self.device.wait(lambda: self.device.log().count("onfiguration") > mark, "the reload is in the log")
        self.assertEqual(self.device.pids(), before)

    def test_13_a_forward_that_the_arguments_name_no_more_is_gone_after_a_restart(self):
        port = free_ports(1)[0]
        self.default(port)
        self.init("restart")
        self.wait_for(port)
        self.assertFalse(is_listening(self.first))
        self.default(self.first)
        self.init("restart")
        self.wait_for(self.first)

    def test_14_a_process_that_restarted_itself_is_still_the_services(self):
        before = self.own()
        self.device.check(f"kill -SEGV {self.device.worker(list(before)[0])}")
        wait_log(self.device, "restarted after: ")
        self.assertEqual(self.own(), before)
        self.wait_for(self.first)

    def test_15_a_bad_configuration_leaves_what_is_running_alone(self):
        before = self.device.pids()
        self.device.write("/etc/reachback/config", "Prot 22\n")
        self.assertRegex(self.init("restart", status=1), r"config:1:1(.|\n)*left as it is")
        self.assertEqual(self.device.pids(), before)
        self.assertTrue(answers(self.first))
        self.device.write("/etc/reachback/config", "")

    def test_16_stop_leaves_no_process_and_no_file(self):
        self.assertIn("OK", self.init("stop"))
        self.assertEqual(self.device.pids(), [])
        self.assertEqual(self.device.check("ls /run/reachback"), "")

    def test_17_an_unknown_action_is_refused_with_the_list(self):
        self.assertIn("start|stop|restart|reload|status", self.init("fly", status=1))


class ScriptsOnly(OnADevice):
    """No tunnel at boot: the technician comes through the custom scripts' one."""

    def test_1_the_technician_restarts_the_service_through_the_tunnel_and_comes_back(self):
        operator = self.scratch / "operator"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", operator], check=True)
        self.device.write("/root/.ssh/authorized_keys", operator.with_suffix(".pub").read_text(), 0o600)
        self.device.check(f"dropbear -R -B -p 127.0.0.1:{self.shell}")
        self.device.check(f"reachback invoke -R {self.first}:127.0.0.1:{self.shell} -y -N -f -i {KEY} "
                          f"-- {self.destination}")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.second} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(self.first) and is_listening(self.second), "both forwards")
        before = self.device.pids()
        ssh = ["ssh", "-tt", "-F", "none", "-i", operator, "-p", str(self.first), "-o", "BatchMode=yes",
               "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.scratch}/known",
               "root@127.0.0.1"]
        with open(os.devnull, "r+b") as null:
            subprocess.run([*ssh, f"sh {device.INIT} restart"], stdin=null, stdout=null, stderr=null,
                           timeout=60, check=False)
        self.renewed(1)
        self.device.wait(lambda: is_listening(self.first) and is_listening(self.second),
                         "both forwards, again", BACK_WITHIN_S)
        shown = subprocess.run([*ssh, "echo back"], stdin=subprocess.DEVNULL, capture_output=True,
                               timeout=60, check=False)
        self.assertIn(b"back", shown.stdout, shown.stderr)
        self.assertEqual(len(self.device.pids()), 1)
        self.assertEqual(self.device.pids(), before)

    def test_2_a_tunnel_in_somebodys_foreground_stays_there(self):
        port = free_ports(1)[0]
        words = self.device.command(f"exec reachback -N -y -i {KEY} -R {port}:127.0.0.1:{self.target} "
                                    f"{self.destination.replace('127.0.0.1', 'localhost')}")
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as foreground:
            self.wait_for(port)
            self.init("restart")
            self.assertIsNone(foreground.poll())
            self.wait_for(port)
            foreground.terminate()


class WithoutAKey(OnADevice):
    """A fresh device, before provisioning."""

    has_key = False

    def test_1_the_service_and_the_scripts_say_which_file_is_missing(self):
        self.default(self.first)
        self.assertIn(KEY, self.init("start", status=66))
        outcome = self.device.run(f"/home/charge/custom_script1.sh {self.destination}")
        self.assertEqual(outcome.status, 66)
        wait_log(self.device, "not started: ")
        self.assertIn(KEY, self.device.log())
        self.assertEqual(self.device.pids(), [])

    def test_2_no_configuration_is_no_error(self):
        self.device.check("rm -r /etc/reachback /etc/default/reachback && reachback --version")
        self.assertIn("nothing to start", self.init("start"))


class AsAnotherUser(OnADevice):
    """The service and the scripts, which root calls, run as `charge`."""

    options = {"USER": '"charge"'}

    def owner(self):
        """The user of each process that holds a tunnel."""
        return [self.device.check(f"grep Uid: /proc/{pid}/status").split()[1] for pid in self.device.pids()]

    def test_1_the_service_runs_as_that_user(self):
        self.device.check("chown -R charge:charge /home/charge")
        self.device.write("/etc/default/reachback",
                          f'REACHBACK_ARGS="{self.arguments(self.first)}"\n')
        self.init("start")
        self.wait_for(self.first)
        self.assertEqual(self.owner(), ["1000"])
        self.device.check("grep -q 127.0.0.1 /home/charge/.ssh/known_hosts")
        self.assertEqual(self.device.check("ls -ld /run/reachback").split()[2], "charge")

    def test_2_a_script_that_root_calls_hands_over_and_root_sees_it(self):
        self.device.check(f"REACHBACK_REMOTE_PORT={self.second} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.assertIn(str(self.second), self.device.run("reachback status").output)
        self.assertEqual(self.owner(), ["1000"])

    def test_3_a_restart_keeps_user_and_forwards(self):
        self.init("restart")
        self.wait_for(self.first, timeout_s=BACK_WITHIN_S)
        self.device.wait(lambda: is_listening(self.second), "the script's forward, again", BACK_WITHIN_S)
        self.assertEqual(self.owner(), ["1000"])

    def test_4_a_host_block_is_started_as_that_user_too(self):
        port = free_ports(1)[0]
        self.device.write("/etc/reachback/config", "RunAsUser charge\n" + self.block("hub", "127.0.0.2", port))
        self.assertIn("OK", self.init("start"))
        self.wait_for(port)
        self.assertEqual(sorted(self.own().values()), ["args", "boot:hub"])
        self.assertEqual(self.owner(), ["1000", "1000"])
        self.init("restart")
        self.wait_for(port, self.first, timeout_s=BACK_WITHIN_S)
        self.assertEqual(self.owner(), ["1000", "1000"])
        self.device.write("/etc/reachback/config", "RunAsUser charge\n")

    def test_5_a_scripts_tunnel_alone_keeps_its_user_too(self):
        self.init("stop")
        self.device.check(f"REACHBACK_REMOTE_PORT={self.second} /home/charge/custom_script2.sh {self.destination}")
        self.device.wait(lambda: is_listening(self.second), "the script's forward")
        self.device.write("/etc/default/reachback", "")
        before = self.device.pids()
        self.init("restart")
        self.device.wait(lambda: is_listening(self.second), "the script's forward, again", BACK_WITHIN_S)
        self.assertEqual(self.owner(), ["1000"])
        self.assertEqual(self.device.pids(), before)


class OldScripts(OnADevice):
    """An image whose own scripts call `ssh`, in dbclient's options and order."""

    options = {"SSH_SYMLINK": "y"}

    def test_1_the_old_line_works_by_the_symbolic_link(self):
        for name, port in (("ssh", self.first), ("dbclient", self.second)):
            with self.subTest(name=name):
                host = {"ssh": "127.0.0.1", "dbclient": "localhost"}[name]
                self.device.write("/home/charge/old.sh", f"""#!/bin/sh
{name} $1 -R {port}:127.0.0.1:{self.target} -y -N -f -i {KEY} -p {self.sshd_port} &
""", 0o755)
                self.device.check(f"/home/charge/old.sh {self.server.user}@{host}")
                self.wait_for(port)

    def test_2_what_needs_a_real_client_is_refused_not_misread(self):
        for line in ("ssh root@127.0.0.1 reboot", "ssh root@127.0.0.1", "ssh -W a:1 root@127.0.0.1"):
            with self.subTest(line=line):
                outcome = self.device.run(line)
                self.assertEqual(outcome.status, 64)
                self.assertTrue(outcome.output.startswith("reachback: "), outcome.output)

    def test_3_a_restart_after_an_upgrade_renews_them_too(self):
        before, count = self.device.pids(), self.count_renewed()
        self.init("restart")
        self.renewed(count + 2)
        self.wait_for(self.first, self.second, timeout_s=BACK_WITHIN_S)
        self.assertEqual(set(before), set(self.device.pids()))


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
