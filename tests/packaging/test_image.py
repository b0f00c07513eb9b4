#!/usr/bin/env python3
"""The image that Buildroot made, booted.

    python3 tests/packaging/test_image.py IMAGES        (Buildroot's output/images)

QEMU's vexpress-a9 with the kernel that Buildroot built; where there is none, QEMU's virt
board with the kernel of the other ARM tests. The image itself is not touched: what a product
adds to it (keys, the operator's public key, arguments, a dashboard) is a second archive that
the kernel unpacks over it. Commands go to the image's own Dropbear, over SSH.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from device import TOP

sys.path.insert(0, str(TOP / "tests/arm"))
import controller as arm  # noqa: E402
import image  # noqa: E402
import through  # noqa: E402
from ssh_server import SshServer, free_ports, is_listening  # noqa: E402

BOOT_S = 120
TUNNEL_S = 60
EX_NOINPUT = 66
# With the standard library as Rust ships it; `make arm` builds that one for size.
SIZE_LIMIT = int(os.environ.get("SIZE_LIMIT", "1150000"))

DASHBOARD = """\
#!/bin/sh
case "$1" in
start) /usr/libexec/busybox httpd -p 80 -h /var/www ;;
esac
"""
LOAD_MODULES = """\
#!/bin/sh
while read -r module; do
	insmod "/lib/modules/$module.ko"
done </etc/modules
"""


def product(arguments, with_key, modules):
    """What a product adds to the image."""
    secret = image.keys()
    added = image.Initramfs()
    for home in ("root", "root/.ssh", "home/charge/.ssh"):
        added.directory(home, 0o700)
    added.copy("root/.ssh/authorized_keys", secret / "operator.pub", 0o600)
    if with_key:
        added.copy(arm.KEY, secret / "charge", 0o600)
    # The directory takes the place of the image's link, which leads to a new key every boot.
    added.copy("etc/dropbear/dropbear_ed25519_host_key", secret / "host", 0o600)
    added.file("etc/default/reachback", f'REACHBACK_ARGS="{arguments}"\n')
    added.copy("usr/libexec/busybox", image.busybox())
    added.copy("var/www/index.html", TOP / "tests/arm/guest/dashboard.html", 0o644)
    added.file("etc/init.d/S70dashboard", DASHBOARD, 0o755)
    if modules:
        added.file("etc/init.d/S00modules", LOAD_MODULES, 0o755)
        added.copy("etc/modules", modules / "modules", 0o644)
        for module in (modules / "modules").read_text().split():
            added.copy(f"lib/modules/{module}.ko", modules / f"{module}.ko", 0o644)
    return added


class Machine:
    """The image in QEMU with a product's additions; `with` boots it and ends it.

    `arguments` are those of the tunnel at boot.
    """

    def __init__(self, images, arguments, with_key=True):
        self.images = Path(images)
        self.vexpress = (self.images / "zImage").exists()
        self.kernel = None if self.vexpress else image.kernel()
        self.added = product(arguments, with_key, self.kernel)
        self.port, = free_ports(1)
        self.process = None

    def command_line(self):
        unpacked = image.BUILD / "host/usr/bin/qemu-system-arm"
        line = [shutil.which("qemu-system-arm") or str(unpacked), "-nodefaults", "-no-reboot"]
        line += ["-display", "none", "-monitor", "none", "-serial", f"file:{self.directory}/console"]
        line += ["-m", "64", "-initrd", str(self.directory / "initrd")]
        line += ["-append", "console=ttyAMA0 panic=-1 cma=0 quiet"]
        net = f"user,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        if self.vexpress:
            line += ["-M", "vexpress-a9", "-kernel", str(self.images / "zImage")]
            line += ["-dtb", str(self.images / "vexpress-v2p-ca9.dtb"), "-nic", f"{net},model=lan9118"]
            # The board has no other source of randomness: without it, every SSH program waits.
            line += ["-device", "virtio-rng-device"]
        else:
            line += ["-M", "virt", "-cpu", "cortex-a7", "-kernel", str(self.kernel / "vmlinuz")]
            line += ["-netdev", f"{net},id=outside", "-device", "virtio-net-device,netdev=outside"]
        return line

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="image-"))
        added = self.directory / "added"
        self.added.write(added)
        with open(self.directory / "initrd", "wb") as whole:
            for part in (self.images / "rootfs.cpio", added):
                whole.write(part.read_bytes())
        self.process = subprocess.Popen(self.command_line(), stdin=subprocess.DEVNULL,
                                        preexec_fn=arm.die_with_parent)
        try:
            arm.wait_until(self.is_up, BOOT_S, "a shell in the image", 1)
        except BaseException:
            print(self.console(), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)

    def is_up(self):
        if self.process.poll() is not None:
            raise arm.ControllerError("QEMU ended")
        return through.shell(self.port, "true") is not None

    def console(self):
        path = self.directory / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, command, timeout_s=60):
        """Runs a command in the image as root: its status and its output, errors included."""
        done = subprocess.run([*through.ssh_command(self.port), f"{{ {command}\n}} 2>&1"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout_s, check=False)
        return arm.Outcome(done.returncode, done.stdout.rstrip("\n"))

    def check(self, command, timeout_s=60):
        outcome = self.run(command, timeout_s)
        if outcome.status != 0:
            raise arm.ControllerError(f"status {outcome.status}: {command}\n{outcome.output}")
        return outcome.output

    def log(self):
        return self.check("cat /var/log/messages")

    def wait_for_log(self, text, timeout_s=TUNNEL_S):
        arm.wait_until(lambda: text in self.log(), timeout_s, f"log line: {text}", 0.5)


class Booted(unittest.TestCase):
    """One boot with one SSH server beside it; the tests run in their order."""

    images = None
    with_key = True

    @classmethod
    def setUpClass(cls):
        cls.sshd_port, cls.boot_port, cls.ssh_port, cls.web_port = free_ports(4)
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(SshServer(cls.sshd_port, [image.public_line(image.keys() / "charge")]))
        cls.destination = f"{cls.server.user}@{arm.HOST_ADDRESS}:{cls.sshd_port}"
        arguments = f"-N -y -i {arm.KEY} -R {cls.boot_port}:localhost:22 {cls.destination}"
        cls.machine = stack.enter_context(Machine(cls.images, arguments, cls.with_key))

    def wait(self, condition, what):
        return arm.wait_until(condition, TUNNEL_S, what, 0.5)

    def script(self, number, port):
        words = shlex.join([f"/home/charge/custom_script{number}.sh", self.destination])
        return self.machine.run(f"REACHBACK_REMOTE_PORT={port} {words}")

    def init(self, action):
        return self.machine.run(f"/etc/init.d/S60reachback {action}")


class TheImage(Booted):
    """An image whose product has a key and a tunnel at boot."""

    def test_01_every_listed_file_is_there_as_listed(self):
        wanted = {destination: mode for _, destination, mode in image.installed_files("systemd")}
        shown = self.machine.check("ls -ln " + " ".join(wanted)).splitlines()
        found = {words[-1]: (words[0], words[2], words[3]) for words in map(str.split, shown)}
        letters = {0o755: "-rwxr-xr-x", 0o644: "-rw-r--r--"}
        self.assertEqual(found, {path: (letters[mode], "0", "0") for path, mode in wanted.items()})

    def test_02_nothing_else_of_ours_is_there(self):
        shown = self.machine.check("find / -xdev -path /proc -prune -o -path /sys -prune -o "
                                   "-name '*reachback*' -print -o -name 'custom_script*' -print")
        wanted = {destination for _, destination, _ in image.installed_files("systemd")}
        made = {"/etc/reachback", "/run/reachback", "/var/run/reachback.pid", "/run/reachback.pid",
                "/var/lib/reachback"}
        self.assertLessEqual(set(shown.split()), wanted | made)

    def test_03_the_program_keeps_the_size_limit(self):
        size = int(self.machine.check("wc -c </usr/bin/reachback"))
        print(f"{size} bytes (limit {SIZE_LIMIT}) ", end="", file=sys.stderr)
        self.assertLessEqual(size, SIZE_LIMIT)

    def test_04_the_tunnel_of_etc_default_came_up_at_boot(self):
        self.assertRegex(self.machine.console(), r"Starting reachback: +OK")
        self.wait(lambda: through.shell(self.boot_port, "hostname") == "controller", "a shell through the tunnel")
        outcome = self.init("status")
        self.assertEqual(outcome.status, 0, outcome.output)

    def test_05_the_first_script_leads_to_dropbear(self):
        outcome = self.script(1, self.ssh_port)
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait(lambda: through.shell(self.ssh_port, "hostname") == "controller", "a shell through the tunnel")

    def test_06_the_second_script_leads_to_the_dashboard(self):
        outcome = self.script(2, self.web_port)
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")

    def test_07_the_scripts_lines_are_in_busybox_syslog(self):
        log = self.machine.log()
        self.assertEqual(log.count("Ebee custom script invoked with parameter " + self.destination), 2, log)
        self.assertEqual(log.count("Ebee custom script invocation completed"), 2, log)

    def test_08_dropbears_key_and_dropbears_pin_serve_reachback(self):
        made = "/tmp/id_ed25519"
        public = self.machine.check(f"dropbearkey -t ed25519 -f {made} | grep ^ssh-")
        with (self.server.directory / "authorized_keys").open("a") as file:
            file.write(public + "\n")
        user = f"{self.server.user}@{arm.HOST_ADDRESS}"
        self.machine.check("mv /root/.ssh/known_hosts /tmp/")
        for key in (arm.KEY, made):
            shown = self.machine.check(f"dbclient -y -i {key} -p {self.sshd_port} {user} echo through")
            self.assertIn("through", shown)
        port, = free_ports(1)
        self.machine.check(f"mkdir -m 700 /tmp/other && reachback -f -N -i {made} -p {self.sshd_port} "
                           f"-o RuntimeDirectory=/tmp/other -R {port}:localhost:80 {user}")
        self.wait(lambda: through.has_dashboard(port), "the dashboard with the other key")
        self.machine.check(f"reachback -o RuntimeDirectory=/tmp/other -p {self.sshd_port} -O exit {user}")
        self.machine.check("mv /tmp/known_hosts /root/.ssh/")

    def test_09_dropbears_host_key_is_still_the_one_that_the_product_gave_it(self):
        kept = self.machine.check("cd /etc/dropbear && sha256sum dropbear_ed25519_host_key").split()[0]
        wanted = hashlib.sha256((image.KEYS / "host").read_bytes()).hexdigest()
        self.assertEqual(kept, wanted)

    def test_10_restart_brings_every_forward_back(self):
        outcome = self.init("restart")
        self.assertEqual(outcome.status, 0, outcome.output)
        for port in (self.boot_port, self.ssh_port):
            self.wait(lambda: through.shell(port, "hostname") == "controller", "a shell through the tunnel")
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")

    def test_11_a_read_only_root_with_the_server_pinned_changes_nothing(self):
        self.machine.check("mount -o remount,ro /")
        self.assertNotEqual(self.machine.run("touch /root/x").status, 0)
        outcome = self.init("restart")
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")

    def test_12_a_read_only_root_with_an_unknown_server_works_and_is_in_the_log(self):
        self.machine.check("mount -o remount,rw / && mv /root/.ssh/known_hosts /tmp/ && mount -o remount,ro /")
        self.init("restart")
        self.machine.wait_for_log("cannot write the known hosts: /root/.ssh/known_hosts")
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")
        self.machine.check("mount -o remount,rw / && cp /tmp/known_hosts /root/.ssh/")

    def test_13_a_volatile_root_home_pins_anew(self):
        self.machine.check("cp /root/.ssh/authorized_keys /tmp/ && mount -t tmpfs -o mode=700 tmpfs /root && "
                           "mkdir -m 700 /root/.ssh && cp /tmp/authorized_keys /root/.ssh/")
        self.init("restart")
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")
        self.machine.check("grep ssh-ed25519 /root/.ssh/known_hosts && umount -l /root")

    def test_14_without_syslogd_it_works_and_its_lines_wait_for_one(self):
        self.machine.check("/etc/init.d/S01syslogd stop && rm -f /var/log/messages")
        outcome = self.init("restart")
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")
        self.machine.check("/etc/init.d/S01syslogd start")
        self.machine.wait_for_log("tunnel up: ")

    def test_15_stop_ends_it_and_leaves_no_pid_file(self):
        outcome = self.init("stop")
        self.assertEqual(outcome.status, 0, outcome.output)
        self.machine.check("test ! -e /var/run/reachback.pid")
        self.wait(lambda: not is_listening(self.boot_port), "the forward's listener is gone")

    def test_16_the_machine_goes_down_in_order(self):
        self.machine.run("start-stop-daemon -S -b -x /sbin/poweroff")
        self.machine.process.wait(60)
        self.assertIn("Stopping reachback", self.machine.console())


class WithoutAKey(Booted):
    """A fresh device, before provisioning."""

    with_key = False

    def test_1_the_boot_says_which_file_is_missing_and_goes_on(self):
        self.assertRegex(self.machine.console(), rf"{arm.KEY}(.|\n)*FAIL")
        self.assertNotEqual(self.init("status").status, 0)

    def test_2_so_do_the_scripts(self):
        outcome = self.script(1, self.ssh_port)
        self.assertEqual(outcome.status, EX_NOINPUT, outcome.output)
        self.machine.wait_for_log(arm.KEY)
        self.assertEqual(self.machine.run("pidof reachback").output, "")

    def test_3_with_the_key_everything_works_without_another_boot(self):
        charge = (image.KEYS / "charge").read_bytes()
        subprocess.run([*through.ssh_command(self.machine.port), f"umask 077; cat >{arm.KEY}"],
                       input=charge, check=True, timeout=30)
        outcome = self.script(2, self.web_port)
        self.assertEqual(outcome.status, 0, outcome.output)
        self.wait(lambda: through.has_dashboard(self.web_port), "the dashboard through the tunnel")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    arm.end_on_signals()
    Booted.images = sys.argv.pop(1)
    del Booted
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
