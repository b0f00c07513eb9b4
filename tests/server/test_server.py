#!/usr/bin/env python3
"""The kit of server/ on a stock sshd, with real controllers: enrolment, isolation, names, lists.

    python3 tests/server/test_server.py     as root, with REACHBACK_BIN or a debug build
"""

import re
import shutil
import subprocess
import time
import unittest
from pathlib import Path

import place
from place import BASE, KIT, TOP, Controller, Sshd, dashboard, page, person, sh, wait_for

KEYS = Path("/etc/ssh/reachback-controllers")
SNIPPET = Path("/etc/ssh/sshd_config.d/90-reachback-controllers.conf")


def listed(name):
    """The row of `list`: name, state, since, address, sockets, last seen."""
    rows = [line.split() for line in sh("reachback-controllers list").splitlines()]
    return next(row for row in rows if row[0] == name)


def enrolled(name, **services):
    controller = Controller(WHERE, name, **services)
    sh(f"reachback-controllers add {name} {controller.public}")
    return controller


def setUpModule():
    global WHERE, TINA, SSHD, BEFORE
    WHERE = place.furnish()
    TINA = person("tina")
    person("olaf")
    SSHD = Sshd()
    BEFORE = {who: in_force(who) for who in ("tina", "root")}
    InstallTest.dry = sh(f"{KIT}/setup --dry-run --operators tina")
    InstallTest.after_dry = (SNIPPET.exists(), BASE.exists(), sh("getent group reachback-operators", status=2))
    InstallTest.first = sh(f"{KIT}/setup --operators tina")


def in_force(user):
    """What sshd -T says; OpenSSH 10 writes keywords in upper and lower case."""
    return set(sh(f"/usr/sbin/sshd -T -C user={user},host=localhost,addr=127.0.0.1").lower().splitlines())


class InstallTest(unittest.TestCase):
    def test_a_dry_run_says_it_all_and_changes_nothing(self):
        self.assertEqual(self.after_dry, (False, False, ""))
        for words in ("group reachback-controllers", "tina may reach", "Match Group reachback-controllers",
                      f"{BASE}/by-name", "pam_succeed_if", "nothing was changed"):
            self.assertIn(words, self.dry)
        self.assertIn("sessions go on", self.first)

    def test_a_second_time_there_is_nothing_to_do(self):
        self.assertEqual(sh(f"{KIT}/setup --operators tina"), "setup: nothing to do\n")

    def test_peoples_logins_are_as_they_were(self):
        for user, before in BEFORE.items():
            changed = {line.split()[0] for line in before ^ in_force(user)}
            self.assertLessEqual(changed, {"maxstartups", "logingracetime", "persourcepenaltyexemptlist"})
        config = "-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null -i /home/tina/.ssh/id_ed25519"
        self.assertIn("shell", sh(f"ssh -q {config} tina@hub.example 'echo shell; pwd'"))
        sh(f"echo text >{WHERE}/file; scp -q {config} {WHERE}/file tina@hub.example:copy")
        self.assertEqual(Path("/home/tina/copy").read_text(), "text\n")
        self.assertIn("SSH-2.0", sh(f"ssh -q {config} -W localhost:22 tina@hub.example </dev/null"))

    def test_a_configuration_that_sshd_refuses_leaves_everything_as_it_was(self):
        bad = SNIPPET.parent / "95-bad.conf"
        kept = SNIPPET.read_text()
        bad.write_text("Nonsense yes\n")
        try:
            refused = sh(f"{KIT}/setup --carrier 198.51.100.0/24,2001:db8::/32", status=1)
            self.assertIn("as they were", refused)
            self.assertEqual(SNIPPET.read_text(), kept)
            SNIPPET.unlink()
            sh(f"{KIT}/setup", status=1)
            self.assertFalse(SNIPPET.exists())
        finally:
            bad.unlink()
            SNIPPET.write_text(kept)

    def test_carriers_are_exempt_where_sshd_knows_penalties(self):
        knows = "Bad configuration" not in sh("/usr/sbin/sshd -T -f /dev/null -o 'PerSourcePenaltyExemptList 192.0.2.1'",
                                              status=None)
        said = sh(f"{KIT}/setup --dry-run --carrier 198.51.100.0/24")
        self.assertEqual("+PerSourcePenaltyExemptList 198.51.100.0/24" in said, knows)

    def test_what_an_earlier_call_named_stays(self):
        cron = Path("/etc/cron.d/reachback-controllers")
        sh(f"{KIT}/setup --prometheus /var/lib/fleet.prom")
        self.assertIn("nothing to do", sh(f"{KIT}/setup"))
        self.assertIn("--prometheus /var/lib/fleet.prom >", cron.read_text())
        sh(f"{KIT}/setup --prometheus none")
        self.assertNotIn("fleet.prom", cron.read_text())

    def test_before_the_first_login_sshd_lacks_a_directory_that_systemd_makes(self):
        for command in f"{KIT}/setup", "reachback-controllers add EARLY -":
            Path("/run/sshd").rmdir()
            sh(f"cat {TINA}.pub | {command}")
            self.assertTrue(Path("/run/sshd").is_dir())
        sh("reachback-controllers revoke EARLY")

    def test_lists_of_who_may_log_in_are_pointed_out(self):
        mine = SNIPPET.parent / "10-mine.conf"
        mine.write_text("AllowGroups people\nAllowUsers tina olaf\n")
        try:
            said = sh(f"{KIT}/setup")
        finally:
            mine.unlink()
        self.assertIn("add reachback-controllers to it", said)
        self.assertIn("add c-* to it", said)

    def test_arguments_that_would_end_up_in_files_are_looked_at(self):
        for wrong in ("--carrier 'no\nPermitRootLogin yes'", "--prometheus 'a;b'", "--prometheus '/a;b'", "--operators 'a b'",
                      "--operators nobody-of-that-name", "--nonsense", "--carrier"):
            self.assertIn("setup: ", sh(f"{KIT}/setup {wrong}", status=1))

    def test_the_layout_of_red_hat(self):
        files = {Path("/etc/ssh/sshd_config"): "# no Include here\nAuthorizedKeysFile .ssh/authorized_keys\nUsePAM yes\n"
                                               "Match User olaf\n\tX11Forwarding no\n",
                 Path("/etc/pam.d/sshd"): "auth substack password-auth\naccount include password-auth\n"
                                          "session required pam_selinux.so open env_params\n"
                                          "session include password-auth\nsession include postlogin\n",
                 Path("/etc/pam.d/password-auth"): "-session optional pam_systemd.so\n"}
        kept = {path: path.read_text() for path in files if path.exists()}
        try:
            for path, text in files.items():
                path.write_text(text)
            self.assertNotIn("nothing to do", sh(f"{KIT}/setup"))
            self.assertEqual(sh(f"{KIT}/setup"), "setup: nothing to do\n")
            lines = Path("/etc/pam.d/sshd").read_text().splitlines()
            skip = next(n for n, line in enumerate(lines) if "ingroup reachback-controllers" in line)
            self.assertIn("pam_selinux.so open", lines[skip - 1])
            self.assertIn("include password-auth", lines[skip + 1])
            self.assertEqual(Path("/etc/ssh/sshd_config").read_text().splitlines()[0],
                             "Include /etc/ssh/sshd_config.d/*.conf")
            enrolled("RHEL-1")
            self.assertIn(f"chrootdirectory {BASE}/%u", in_force("c-RHEL-1"))
            self.assertIn("chrootdirectory none", in_force("olaf"))
            sh("reachback-controllers revoke RHEL-1")
        finally:
            for path in files:
                path.unlink()
            for path, text in kept.items():
                path.write_text(text)
            SSHD.stop()
            SSHD.start()

    def test_pam_starts_nothing_for_controllers_and_what_it_did_for_people(self):
        session, seen = Path("/etc/pam.d/common-session"), WHERE / "seen"
        kept = session.read_text()
        script = WHERE / "note"
        script.write_text(f'#!/bin/sh\necho "$PAM_USER" >>{seen}\n')
        script.chmod(0o755)
        session.write_text(f"{kept}session optional pam_exec.so {script}\n")
        try:
            enrolled("PAM-1").start().up().stop()
            sh(f"ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i {TINA} tina@hub.example true")
            self.assertEqual(set(seen.read_text().split()), {"tina"})
        finally:
            session.write_text(kept)
            sh("reachback-controllers revoke PAM-1")


class EnrolmentTest(unittest.TestCase):
    def add(self, name, key, status=0):
        return sh(f"reachback-controllers add {name} - <<'END'\n{key}\nEND", status=status)

    def key(self, name="key"):
        path = WHERE / f"{name}-{time.monotonic_ns()}"
        sh(f"ssh-keygen -q -t ed25519 -N '' -C 'a comment' -f {path}")
        return Path(f"{path}.pub").read_text().strip()

    def test_twice_is_once_and_a_key_is_not_replaced(self):
        key = self.key()
        self.assertIn("SN-1 may connect, as c-SN-1, with SHA256:", self.add("SN-1", key))
        self.assertEqual(self.add("SN-1", key), "")
        self.assertIn("revoke it first", self.add("SN-1", self.key(), 65))
        self.assertIn("SN-1 has this key", self.add("SN-2", key, 65))
        self.assertIn("upper and lower case", self.add("sn-1", self.key(), 65))
        self.assertEqual(listed("SN-1"), ["SN-1", "down", "-", "-", "-", "never"])
        self.assertNotIn("c-SN-1", Path("/etc/subuid").read_text())
        self.assertNotIn(":c-sn-1:", sh("getent passwd", status=None))

    def test_names_and_keys_are_what_they_should_be(self):
        key = self.key()
        for name in ("../x", "a/b", "-x", "x-", "x.y", "a_b", "'a b'", "'a\nb'", "'<b>'", "'$(id)'", "é", "''", "a" * 25):
            self.assertIn("no name for a controller", self.add(name, key, 65))
        kind, blob, _ = key.split(None, 2)
        for wrong in (f'command="id" {key}', f"ssh-dss {blob}", f"{kind}", f"{kind} {blob[:-8]}", f"ssh-rsa {blob}",
                      f"{kind} {blob};id", "", f"# {key}"):
            self.add("SN-9", wrong, 65)
        self.assertFalse((KEYS / "c-SN-9").exists())

    def test_a_persons_account_is_nobodys_controller(self):
        sh("useradd c-bob")
        self.assertIn("would not confine", self.add("bob", self.key(), 78))
        self.assertIn("no controller", sh("reachback-controllers revoke bob", status=65))
        self.assertIn("c-bob", sh("getent passwd c-bob"))

    def test_a_list_goes_on_after_a_line_that_is_wrong_and_keys_prints_it_again(self):
        lines = [f"LIST-{n} {self.key()}" for n in range(5)]
        (WHERE / "list").write_text("# comment\n\n" + "\n".join([*lines[:3], "bad_name ssh-ed25519 AAAA", *lines[3:]]))
        sh(f"reachback-controllers add --list {WHERE}/list", status=65)
        printed = sh("reachback-controllers keys")
        for line in lines:
            self.assertIn(" ".join(line.split()[:3]) + "\n", printed)
        for n in range(5):
            sh(f"reachback-controllers revoke LIST-{n}")
        sh(f"reachback-controllers add --list {WHERE}/list", status=65)
        self.assertEqual(sh("reachback-controllers keys"), printed)

    def test_an_account_outlives_the_days_of_passwords(self):
        defaults = Path("/etc/login.defs")
        kept = defaults.read_text()
        defaults.write_text(re.sub(r"(?m)^PASS_MAX_DAYS.*", "PASS_MAX_DAYS 90", kept))
        sh("useradd -D -f 30 -e 2027-01-01")
        try:
            self.add("LASTS", self.key())
        finally:
            defaults.write_text(kept)
            sh("useradd -D -f -1 -e ''")
        fields = sh("getent shadow c-LASTS").strip().split(":")
        self.assertEqual((fields[1], *fields[4:8:1]), ("*", "", "7", "", ""))

    def test_without_its_block_sshd_gets_no_key(self):
        key, kept = self.key(), SNIPPET.read_text()
        SNIPPET.write_text(re.sub(r"\tChrootDirectory.*\n", "", kept))
        try:
            self.assertIn("run setup", self.add("LOOSE-1", key, 78))
            self.assertFalse((KEYS / "c-LOOSE-1").exists())
        finally:
            SNIPPET.write_text(kept)

    def test_others_than_root_enrol_nobody(self):
        self.assertIn("as root", sh("runuser -u tina -- reachback-controllers list", status=77))


class RemoveTest(unittest.TestCase):
    def test_it_goes_as_it_came(self):
        pam, kept = Path("/etc/pam.d/sshd"), Path("/etc/pam.d/sshd").read_text()
        controller = enrolled("LEFT")
        for _ in range(2):
            self.assertIn("their keys are in", sh(f"{KIT}/setup --remove"))
        self.assertFalse(SNIPPET.exists() or Path("/etc/cron.d/reachback-controllers").exists())
        self.assertEqual(pam.read_text(), kept.replace(next(line for line in kept.splitlines(True) if "reachback" in line), ""))
        self.assertEqual(in_force("tina"), BEFORE["tina"])
        sh(f"{KIT}/setup")
        self.assertEqual(pam.read_text(), kept)
        controller.start().up().stop()


class StolenKeyTest(unittest.TestCase):
    """A second key fails to take, answer for or read another's listener, whatever it asks for."""

    @classmethod
    def setUpClass(cls):
        cls.mine = enrolled("MINE", web=dashboard("mine")).start().up()
        cls.thief = enrolled("THIEF", web=dashboard("stolen"))
        cls.inode = cls.mine.socket().stat().st_ino

    @classmethod
    def tearDownClass(cls):
        cls.mine.stop()

    def tearDown(self):
        self.thief.stop()
        self.assertEqual(page(self.mine.socket()), "mine")
        self.assertEqual(self.mine.socket().stat().st_ino, self.inode)

    def ssh(self, *words, user="c-THIEF"):
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
                   "-o", "ExitOnForwardFailure=yes", "-i", str(self.thief.key)]
        done = subprocess.run(["ssh", *options, *words[:-1], f"{user}@hub.example", *words[-1:]],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        return done.returncode, done.stdout

    def test_the_same_path_is_the_thiefs_own(self):
        self.thief.start().up()
        self.assertEqual(page(self.thief.socket()), "stolen")

    def test_no_path_leads_to_anothers_directory(self):
        target = self.thief.web
        paths = [str(self.mine.socket()), f"/../c-MINE/run/web", "/run/../../c-MINE/run/web", f"/run/../..{BASE}/c-MINE/run/web",
                 f"{BASE}/by-name/mine/web", "/etc/x", "/x"]
        for path in paths:
            self.thief.start(f"{path}:{target}").wait("forward refused: ")
            self.thief.stop()

    def test_links_that_lie_about_lead_nowhere(self):
        link = BASE / "c-THIEF/run/web"
        link.unlink(missing_ok=True)
        link.symlink_to("../../c-MINE/run/web")
        (BASE / "c-THIEF/run/dir").symlink_to(f"{BASE}/c-MINE/run")
        self.thief.start(f"/run/web:{self.thief.web}").up()
        self.assertEqual(page(self.thief.socket()), "stolen")
        self.thief.stop()
        self.thief.start(f"/run/dir/web:{self.thief.web}").wait("forward refused: ")
        (BASE / "c-THIEF/run/dir").unlink()

    def test_no_port_of_the_server(self):
        for forward in ("1111", "0", "1", "192.0.2.1:1", "*:8080"):
            self.thief.start(f"{forward}:{self.thief.web}").wait("forward refused: ")
            self.thief.stop()

    def test_no_way_into_the_network_or_to_a_socket(self):
        for way in (["-W", "localhost:22"], ["-W", "192.0.2.1:1"]):
            status, said = self.ssh(*way, "-N")
            self.assertNotEqual(status, 0)
            self.assertNotIn("SSH-2.0", said)
        for number, path in enumerate([self.mine.socket(), "/run/web", f"{BASE}/by-name/mine/web"]):
            near = WHERE / f"near-{number}"
            client = subprocess.Popen(["ssh", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                                       "-i", str(self.thief.key), "-N", "-L", f"{near}:{path}", "c-THIEF@hub.example"])
            try:
                wait_for("ssh listens", near.exists)
                self.assertIn(page(near), ("", None))
            finally:
                client.kill()
                client.wait()

    def test_no_program(self):
        for words in (["true"], ["-tt", "true"], ["-s", "sftp"], ["-w", "any:any", "true"], ["-A", "true"]):
            status, said = self.ssh(*words)
            self.assertNotEqual(status, 0, said)
        self.assertEqual(self.ssh("-N", user="c-MINE")[0], 255)

    def test_people_outside_the_group_do_not_get_in(self):
        self.assertIn("reachback-operators", sh("runuser -u olaf -- reachback-controllers connect MINE", status=77))
        sh(f"runuser -u olaf -- socat -u OPEN:/dev/null UNIX-CONNECT:{self.mine.socket()}", status=1)

    def test_connect_takes_no_path(self):
        for words in ("../c-MINE", "MINE ../../c-MINE/run/web", "MINE web,x", "'$(id)'", "MINE 'EXEC:id'"):
            self.assertNotEqual(sh(f"reachback-controllers connect {words}; echo $?", status=0)[-3:-1].strip(), "0")


class NamesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        person("charge")
        shutil.copy(f"{TINA}.pub", "/home/charge/.ssh/authorized_keys")
        config = (KIT / "ssh_config").read_text().replace("User root", "User charge")
        Path("/home/tina/.ssh/config").write_text(config + "Host *\nStrictHostKeyChecking accept-new\n")
        cls.controller = enrolled("SN-0042").start().up()

    @classmethod
    def tearDownClass(cls):
        cls.controller.stop()

    def test_a_technician_types_the_name(self):
        self.assertIn("charge", sh("runuser -u tina -- ssh SN-0042 whoami"))
        sh("runuser -u tina -- scp -q /etc/hosts SN-0042:hosts")
        self.assertEqual(Path("/home/charge/hosts").read_text(), place.HOSTS)

    def test_a_name_that_is_not_there_is_said(self):
        self.assertIn("there is no controller SN-0043", sh("runuser -u tina -- ssh SN-0043", status=255))
        enrolled("SN-0044")
        self.assertIn("SN-0044 is not connected", sh("runuser -u tina -- ssh SN-0044", status=255))


class ListTest(unittest.TestCase):
    def test_a_file_that_is_left_behind_is_nobody(self):
        controller = enrolled("STALE").start().up()
        name, state, since, address, sockets, seen = listed("STALE")
        self.assertEqual((state, sockets), ("up", "ssh,web"))
        self.assertRegex(since + seen, r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ){2}$")
        self.assertRegex(address, r"^127\.0\.0\.1:\d+$")
        controller.stop()
        wait_for("it is down", lambda: listed("STALE")[1] == "down")
        self.assertTrue(controller.socket().exists())
        self.assertIn("STALE is not connected", sh("reachback-controllers connect STALE", status=69))
        self.assertGreaterEqual(listed("STALE")[5], seen)
        controller.start().up()
        self.assertEqual(listed("STALE")[1], "up")
        controller.stop()

    def test_of_two_sessions_the_one_that_is_reached_counts(self):
        controller = enrolled("TWICE", web=dashboard("old")).start().up()
        old = listed("TWICE")
        second = Controller(WHERE, "TWICE-2", web=dashboard("new"))
        second.key.write_bytes(controller.key.read_bytes())
        second.start(f"/run/web:{second.web}", user="c-TWICE").up()
        self.assertEqual(page(controller.socket()), "new")
        new = listed("TWICE")
        self.assertNotEqual(old[3], new[3])
        second.stop()
        # The first still has a listener, at a file that is gone; its ssh is as it was.
        wait_for("the socket is nobody's", lambda: listed("TWICE")[4] == "ssh")
        self.assertEqual(listed("TWICE")[3], old[3])
        controller.stop()

    def test_names_of_sockets_are_never_printed_raw_and_forge_no_line(self):
        odd, other = enrolled("ODD"), enrolled("OTHER").start().up()
        before = listed("OTHER")
        process = sh("pgrep -u c-OTHER").strip()
        forged = f'/run/x\ntcp ESTAB 0 0 <script> 6.6.6.6 users\\:((\\"sshd\\",pid={process},fd=3))\n'
        client = subprocess.Popen(["ssh", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i",
                                   str(odd.key), "-N", "-R", f"{forged}:localhost:22", "-R", "/run/web:localhost:22", "c-ODD@hub.example"])
        try:
            wait_for("both are there", lambda: len(list((BASE / "c-ODD/run").iterdir())) == 2)
            www = WHERE / "www"
            said = sh(f"reachback-controllers list --html {www}")
            self.assertIn("ODD asked for a socket with an odd name", said)
            self.assertNotIn("script>", said + (www / "index.html").read_text())
            self.assertEqual(listed("ODD")[4], "web")
            self.assertEqual(listed("OTHER")[:5], before[:5])
        finally:
            client.kill()
            client.wait()
            other.stop()
            sh("reachback-controllers revoke ODD")

    def test_pages_and_figures(self):
        up, down = enrolled("UP").start().up(), enrolled("DOWN")
        www, prometheus = WHERE / "pages", WHERE / "fleet.prom"
        sh(f"reachback-controllers list --html {www} --prometheus {prometheus}")
        index = (www / "index.html").read_text()
        self.assertRegex(index, r'<tr class="up"><td>UP</td><td>up</td>')
        self.assertRegex(index, r'<tr class="down"><td>DOWN</td><td>down</td>')
        self.assertIn("never", (www / "down/down.html").read_text())
        self.assertFalse((www / "down/up.html").exists())
        figures = prometheus.read_text()
        self.assertIn('reachback_controller_up{controller="UP"} 1\n', figures)
        self.assertIn('reachback_controller_up{controller="DOWN"} 0\n', figures)
        for line in figures.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .+|\w+\{controller="[A-Za-z0-9-]+"\} \d+)$')
        self.assertEqual(www.joinpath("index.html").stat().st_mode & 0o777, 0o640)
        up.stop()
        wait_for("it is down", lambda: listed("UP")[1] == "down")
        sh(f"reachback-controllers list --html {www}")
        self.assertRegex((www / "down/up.html").read_text(), r"last seen \d{4}-")
        down.stop()


class RevokeTest(unittest.TestCase):
    def test_it_ends_the_living_session_and_says_so(self):
        controller = enrolled("GONE", web=dashboard("gone")).start().up()
        other = enrolled("STAYS", web=dashboard("stays")).start().up()
        said = sh("reachback-controllers revoke GONE")
        self.assertIn("GONE was connected; its session was ended", said)
        self.assertEqual(sh("ps -eo user:40= | grep -c '^c-GONE' || true").strip(), "0")
        controller.wait("the server accepts none of the keys")
        self.assertEqual(page(other.socket()), "stays")
        self.assertNotIn("GONE", sh("reachback-controllers list"))
        self.assertFalse((BASE / "c-GONE").exists() or (BASE / "by-name/gone").is_symlink())
        sh("getent passwd c-GONE", status=2)
        controller.stop()
        sh(f"reachback-controllers add GONE {controller.public}")
        self.assertIn("GONE was not connected", sh("reachback-controllers revoke GONE"))
        other.stop()


class MigrationTest(unittest.TestCase):
    """The scripts as they are shipped, in a fleet and as before."""

    def script(self, number, argument, controller):
        environment = {"REACHBACK": "/usr/local/bin/reachback", "REACHBACK_KEY": controller.key}
        words = " ".join(f"{name}={value}" for name, value in environment.items())
        return sh(f"{words} {TOP}/packaging/custom_script{number}.sh {argument}")

    def tearDown(self):
        sh("reachback stop --all", status=None)

    def test_the_scripts_unedited_lead_to_the_controllers_own_sockets(self):
        controller = enrolled("SN-1742")
        Path("/etc/serial").write_text("SN-1742\n")
        Path("/etc/reachback").mkdir(exist_ok=True)
        Path("/etc/reachback/config").write_text(
            "SerialFile /etc/serial\nScriptUser c-%s\nScriptForward 1111 /run/ssh\nScriptForward 1112 /run/web\n")
        self.addCleanup(Path("/etc/reachback/config").unlink)
        for number in 1, 2:
            self.script(number, "tunnel@hub.example", controller)
        wait_for("both are there", lambda: listed("SN-1742")[4] == "ssh,web")
        self.script(2, "off", controller)
        wait_for("one is there", lambda: listed("SN-1742")[4] == "ssh")

    def test_one_configuration_brings_each_controller_up_at_boot(self):
        controller = enrolled("SN-1743")
        Path("/etc/serial").write_text("SN-1743\n")
        text = (TOP / "docs/configuration.md").read_text().partition("## Many controllers on one server")[2].split("```")[1]
        text = text.replace("/proc/device-tree/serial-number", "/etc/serial").replace("/home/charge/.ssh/id_rsa", str(controller.key))
        Path("/etc/reachback").mkdir(exist_ok=True)
        Path("/etc/reachback/config").write_text(f"StrictHostKeyChecking accept-new\n{text}")
        self.addCleanup(Path("/etc/reachback/config").unlink)
        sh("reachback check; reachback boot --wait")
        self.assertEqual(listed("SN-1743")[4], "ssh,web")

    def test_without_the_configuration_they_are_what_they_were(self):
        controller = Controller(WHERE, "OLD")
        person("op")
        shutil.copy(controller.public, "/home/op/.ssh/authorized_keys")
        self.script(1, "op@hub.example", controller)
        wait_for("port 1111 listens", lambda: ":1111 " in sh("ss -Hltn"))


if __name__ == "__main__":
    place.enter()
    unittest.main(verbosity=2)
