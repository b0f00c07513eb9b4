"""A root directory as the firmware has it, run in namespaces of its own.

BusyBox, the files that the Buildroot package installs, Dropbear and the program built for
this machine: changed root, own mounts, own processes. The network is the machine's.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP / "tests/arm"))
sys.dont_write_bytecode = True

import controller as arm  # noqa: E402

BUILD = (TOP / os.environ.get("BUILD", "build")).resolve()
PROGRAM = Path(
    os.environ.get("REACHBACK_BIN")
    or Path(os.environ.get("CARGO_TARGET_DIR", BUILD / "target")) / "debug/reachback"
)
BUSYBOX = shutil.which("busybox")
INIT = "/etc/init.d/S60reachback"
CONFIG = "/etc/reachback/config"
# The server of these tests is on loopback, where a custom script may not lead to unless it is allowed.
ALLOW = "Host *\n  AllowDestinations *\n"
PATH = "/sbin:/usr/sbin:/bin:/usr/bin"


@dataclass
class Outcome:
    """Exit status, and standard output and error together."""

    status: int
    output: str


def install(target, build, **options):
    """Runs the package's own install commands into `target`; see infra.mk.

    `build` becomes a directory like the package's build directory. `options` are Kconfig
    symbols without BR2_PACKAGE_REACHBACK_, and INIT_SYSTEMD, USER... as they stand there.
    """
    words = {"INIT_SYSV": "y", "SCRIPTS": "y", "SCRIPTS_DIR": '"/home/charge"', "INIT": "y"}
    words |= {"USER": '""', "ARGS": '""', "CONFIG_FILE": '""', "KNOWN_HOSTS_FILE": '""'}
    words |= options
    if not build.exists():
        build.mkdir(parents=True)
        (build / "packaging").symlink_to(TOP / "packaging")
    variables = []
    for name, value in words.items():
        prefix = "BR2_" if name in ("INIT_SYSV", "INIT_SYSTEMD") else "BR2_PACKAGE_REACHBACK_"
        variables.append(f"{prefix}{name}={value}")
    done = subprocess.run(
        ["make", "-s", "-f", HERE / "infra.mk", f"TOP={TOP}", f"TARGET_DIR={target}",
         f"BUILD_DIR={build}", *variables, "install"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env={"PATH": os.environ["PATH"]},
    )
    if done.returncode != 0:
        raise AssertionError(f"the package's install commands failed:\n{done.stdout}")


def with_libraries(program):
    """The program and what its dynamic loader needs; only the program if it is static."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(program), *map(Path, re.findall(r"(/\S+) \(0x", done.stdout))]


def can_isolate():
    """Whether this user may make mount and process namespaces here."""
    probe = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    return os.geteuid() == 0 and subprocess.run(probe, capture_output=True).returncode == 0


class Device:
    """One such system; `with` starts and ends it. `options` go to `install`."""

    def __init__(self, **options):
        self.options = options
        self.first = None

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="device-"))
        self.root = self.directory / "root"
        try:
            self.fill()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.first:
            # The first process of a process namespace takes all others with it.
            self.first.kill()
            self.first.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def fill(self):
        root = self.root
        for path in ("bin", "sbin", "usr/bin", "usr/sbin", "proc", "dev", "tmp", "run", "etc/init.d",
                     "var/log", "root/.ssh", "etc/dropbear", "home/charge/.ssh"):
            (root / path).mkdir(parents=True, exist_ok=True)
        for path in ("root", "root/.ssh", "home/charge/.ssh"):
            (root / path).chmod(0o700)
        (root / "var/run").symlink_to("../run")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n"
                                         "charge:x:1000:1000::/home/charge:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\ncharge:x:1000:\n")
        (root / "etc/shells").write_text("/bin/sh\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        install(root, self.directory / "build", **self.options)
        self.write(CONFIG, (root / CONFIG.lstrip("/")).read_text())
        self.copy(Path(BUSYBOX), "/bin/busybox")
        applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, text=True, check=True)
        for applet in applets.stdout.split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "usr/bin/env").symlink_to("/bin/busybox")
        self.put_program(PROGRAM)
        if shutil.which("dropbear"):
            self.copy(Path(shutil.which("dropbear")), "/usr/sbin/dropbear")

    def copy(self, source, destination):
        """Copies a program, and its libraries to where they are on this machine."""
        program, *libraries = with_libraries(source)
        for path, target in [(program, destination), *((lib, str(lib)) for lib in libraries)]:
            there = self.root / target.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            if not there.exists():
                shutil.copy(path, there)

    def put_program(self, source):
        """Installs a program as /usr/bin/reachback the way docs/upgrade.md says."""
        new = self.root / "usr/bin/reachback.new"
        shutil.copy(source, new)
        new.chmod(0o755)
        for library in with_libraries(source)[1:]:
            self.copy(library, str(library))
        new.rename(self.root / "usr/bin/reachback")

    def start(self):
        setup = """
            mount --make-rprivate / && mount --bind "$0" "$0" && cd "$0" &&
            mount -t proc proc proc && mount -t tmpfs tmpfs dev && mount -t tmpfs tmpfs run &&
            for node in null zero random urandom tty; do
                : >dev/$node && mount --bind /dev/$node dev/$node || exit
            done
            mkdir dev/pts && mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts &&
            ln -s pts/ptmx dev/ptmx &&
            exec chroot . /bin/sh -c 'while :; do sleep 0.1; done'
        """
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", setup]
        self.first = subprocess.Popen([*command, self.root], stdin=subprocess.DEVNULL)
        self.inside = arm.wait_until(self.find_inside, 5, "the namespaces are there")
        self.check("syslogd -O /run/messages")

    def find_inside(self):
        if self.first.poll() is not None:
            raise arm.ControllerError("the namespaces could not be made")
        try:
            children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text()
            child = int(children.split()[0])
            root = os.readlink(f"/proc/{child}/root")
        except (OSError, IndexError):
            return None
        return child if root == str(self.root) else None

    def command(self, line):
        """The words with which a command runs in there. Like BusyBox' init, HOME is /."""
        enter = ["nsenter", "--target", str(self.inside), "--mount", "--pid", "--root", "--wd"]
        return [*enter, "/bin/busybox", "env", "-i", f"PATH={PATH}", "HOME=/", "/bin/sh", "-c", line]

    def run(self, line, timeout_s=60):
        """Runs a shell command; what it leaves in the background does not hold it up."""
        with tempfile.TemporaryFile() as out:
            done = subprocess.run(self.command(line), stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=timeout_s, check=False)
            out.seek(0)
            return Outcome(done.returncode, out.read().decode(errors="replace"))

    def check(self, line):
        """Runs a shell command that has to succeed; returns its output."""
        done = self.run(line)
        if done.status != 0:
            raise AssertionError(f"{line}: status {done.status}\n{done.output}\n{self.log()}")
        return done.output

    def init(self, action):
        return self.run(f"sh {INIT} {shlex.quote(action)}")

    def write(self, path, text, mode=0o644):
        if path == CONFIG:
            text += ALLOW
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        there.chmod(mode)

    def log(self):
        return self.run("cat /run/messages").output

    def pids(self):
        """Processes that hold tunnels, as the device numbers them, without their workers."""
        found = {}
        look = "for p in /proc/[0-9]*; do echo $p $(sed -n 's/^PPid:.//p' $p/status) $(readlink $p/exe); done"
        for line in self.run(look).output.splitlines():
            path, parent, program = [*line.split(maxsplit=2), "", ""][:3]
            if program.startswith("/usr/bin/reachback"):
                found[int(path.rpartition("/")[2])] = int(parent)
        return [pid for pid, parent in found.items() if parent not in found]

    def worker(self, pid):
        """The process that does the work of a tunnel's process."""
        look = f"for p in /proc/[0-9]*; do grep -q '^PPid:.{pid}$' $p/status && echo ${{p#/proc/}}; done"
        return int(self.run(look).output.split()[0])

    def wait(self, condition, what, timeout_s=30):
        try:
            return arm.wait_until(condition, timeout_s, what)
        except arm.ControllerError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None


def wait_log(device, text, times=1):
    device.wait(lambda: device.log().count(text) >= times, f"{times} times in the log: {text}")


def seconds(action):
    """How long `action()` took, and what it gave."""
    began = time.monotonic()
    result = action()
    return time.monotonic() - began, result
