"""Builds what the emulated controller boots: a kernel and an initramfs.

Everything comes from the distribution's armhf packages, fetched without being installed,
and is cached under $BUILD/image (default: build/image). Dropbear is built from its source
package, static and small, as such a controller carries it. The keys are made on this
machine at the first build and stay under $BUILD.
"""

import gzip
import io
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
BUILD = (TOP / os.environ.get("BUILD", "build")).resolve()
IMAGE = BUILD / "image"
KEYS = IMAGE / "keys"

REACHBACK = BUILD / "arm" / "reachback"
CROSS_CC = os.environ.get("ARM_CC") or str(BUILD / "musl/bin/arm-linux-musleabihf-gcc")

# Loaded in this order, each after what it depends on. sch_netem is for injected faults.
MODULES = ["virtio_mmio", "virtio_net", "virtio_console", "sch_netem"]

DROPBEAR_OPTIONS = """\
/* musl as Debian ships it has no crypt(): keys only. */
#define DROPBEAR_SVR_PASSWORD_AUTH 0
#define DROPBEAR_CLI_PASSWORD_AUTH 0
"""


def run(*command, **options):
    """Runs a command quietly; if it fails, its output ends the program."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    if done.returncode != 0:
        sys.exit(f"image: failed: {' '.join(map(str, command))}\n{done.stdout[-4000:]}")
    return done.stdout


def packages(*arguments):
    command = [sys.executable, TOP / "scripts/armhf-packages.py", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit("image: a package could not be fetched")
    return done.stdout.split()


class Initramfs:
    """Collects files for a newc archive, the format the kernel unpacks (cpio(5))."""

    def __init__(self):
        self.entries = {}

    def directory(self, path, mode=0o755):
        self.add(path, stat.S_IFDIR | mode, b"")

    def file(self, path, content, mode=0o644):
        self.add(path, stat.S_IFREG | mode, content.encode() if isinstance(content, str) else content)

    def link(self, path, target):
        self.add(path, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, path, source, mode=0o755):
        self.file(path, Path(source).read_bytes(), mode)

    def add(self, path, mode, content):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = (mode, content)

    def write(self, target):
        out = io.BytesIO()
        self.member(out, ".", 0, stat.S_IFDIR | 0o755, b"")
        for number, (path, (mode, content)) in enumerate(self.entries.items(), start=1):
            self.member(out, path, number, mode, content)
        # The kernel opens /dev/console before it runs /init.
        self.member(out, "dev/console", len(self.entries) + 1, stat.S_IFCHR | 0o600, b"", 5, 1)
        self.member(out, "TRAILER!!!", 0, 0, b"")
        temporary = target.with_suffix(".new")
        temporary.write_bytes(gzip.compress(out.getvalue(), compresslevel=1))
        temporary.rename(target)

    @staticmethod
    def member(out, path, inode, mode, content, major=0, minor=0):
        name = path.encode() + b"\0"
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name), 0]
        out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(content)
        out.write(b"\0" * (-out.tell() % 4))


def kernel():
    """Returns the directory with `vmlinuz`, the modules, and `modules`, their load order."""
    target = IMAGE / "kernel"
    if (target / "modules").exists():
        return target
    name = packages("find", r"linux-image-[0-9.]+-[0-9]+(-armmp|-generic)")[0]
    unpacked = IMAGE / "kernel-package"
    packages("unpack", unpacked, name)
    modules = name.replace("linux-image-", "linux-modules-")
    if not any(unpacked.glob("**/virtio_net.ko*")):
        packages("unpack", unpacked, modules)  # Ubuntu keeps them apart
    found = {
        path.name.split(".ko")[0].replace("-", "_"): path for path in unpacked.glob("**/*.ko*")
    }
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(next(unpacked.glob("boot/vmlinuz-*")), target / "vmlinuz")
    order = []

    def add(module):
        # A module that is not a file is built into the kernel.
        if module in order or module not in found:
            return
        content = found[module].read_bytes()
        if found[module].suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends.group(1).decode().split(",") if depends else []:
            add(other.replace("-", "_"))
        (target / f"{module}.ko").write_bytes(content)
        order.append(module)

    for module in MODULES:
        add(module)
    (target / "modules").write_text("\n".join(order) + "\n")
    shutil.rmtree(unpacked)
    return target


def dropbear():
    """Returns the directory with static `dropbearmulti` and, for its size, `dbclient`."""
    target = IMAGE / "dropbear"
    if (target / "dbclient").exists():
        return target
    source = IMAGE / "source"
    packages("source", source, "dropbear")
    tree = next(path for path in source.glob("dropbear-*/") if path.is_dir())
    (tree / "localoptions.h").write_text(DROPBEAR_OPTIONS)
    # -static from the start: the wrapper finds no libc.so, and what configure does not
    # find it replaces by its own, getaddrinfo included.
    flags = {"CFLAGS": "-Os -ffunction-sections -fdata-sections"}
    flags["LDFLAGS"] = "-static -Wl,--gc-sections"
    configure = ["--host=arm-linux-musleabihf", f"CC={CROSS_CC}", "STRIP=arm-linux-gnueabihf-strip"]
    configure += ["--disable-zlib", "--enable-bundled-libtom", "--enable-static"]
    configure += ["--disable-lastlog", "--disable-utmp", "--disable-utmpx", "--disable-wtmp"]
    configure += ["--disable-wtmpx", "--disable-loginfunc"]
    run("sh", "./configure", *configure, *(f"{k}={v}" for k, v in flags.items()), cwd=tree)
    jobs = f"-j{os.cpu_count()}"
    run("make", jobs, "PROGRAMS=dropbear dbclient dropbearkey", "MULTI=1", cwd=tree)
    target.mkdir(parents=True, exist_ok=True)
    run("arm-linux-gnueabihf-strip", "-o", target / "dropbearmulti", tree / "dropbearmulti")
    run("make", "clean", cwd=tree)
    run("make", jobs, "PROGRAMS=dbclient", cwd=tree)
    run("arm-linux-gnueabihf-strip", "-o", target / "dbclient", tree / "dbclient")
    shutil.rmtree(source)
    return target


def busybox():
    directory = IMAGE / "busybox"
    packages("unpack", directory, "busybox-static")
    return next(path for path in directory.glob("**/bin/busybox"))


def openssh():
    """Returns the files of the OpenSSH client: {path in the guest: file here}."""
    return programs("openssh", "openssh-client", ["usr/bin/ssh"])


def systemd():
    """Returns systemd's programs and as many units as a boot to multi-user.target takes."""
    tools = ["systemctl", "systemd-escape", "systemd-tmpfiles", "journalctl"]
    daemons = ["systemd", "systemd-journald", "systemd-shutdown"]
    wanted = [f"bin/{name}" for name in tools] + [f"lib/systemd/{name}" for name in daemons]
    files = programs("systemd", "systemd", wanted)
    units = IMAGE / "systemd/lib/systemd/system"
    targets = ["sysinit", "basic", "multi-user", "network", "sockets", "timers", "paths", "slices",
               "local-fs", "shutdown", "umount", "final", "poweroff"]
    names = [f"{name}.target" for name in targets]
    names += [f"systemd-journald{end}" for end in (".service", ".socket", "-dev-log.socket")]
    names += ["systemd-tmpfiles-setup.service", "systemd-poweroff.service"]
    return files | {f"lib/systemd/system/{name}": units / name for name in names}


def programs(name, package, paths):
    """Programs of a package and the libraries they need: {path in the guest: file here}."""
    directory = IMAGE / name
    packages("unpack", directory, package, *packages("closure", package))
    libraries = {path.name: path for path in directory.glob("**/lib/arm-linux-gnueabihf/**/*.so*")}
    files = {path: directory / path for path in paths}
    waiting = list(files.values())
    files["lib/ld-linux-armhf.so.3"] = libraries["ld-linux-armhf.so.3"]
    while waiting:
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", waiting.pop())):
            path = f"lib/arm-linux-gnueabihf/{name}"
            if path not in files and name != "ld-linux-armhf.so.3":
                files[path] = libraries[name]
                waiting.append(libraries[name])
    return files


def keys():
    """Makes the keys once: the controller's, its Dropbear host key, and the operator's.

    `charge` is RSA 2048 in Dropbear's format, as on today's devices; `charge.openssh` is
    the same key for the OpenSSH client.
    """
    KEYS.mkdir(parents=True, exist_ok=True)
    KEYS.chmod(0o700)
    if not (KEYS / "charge").exists():
        run("dropbearkey", "-t", "rsa", "-s", "2048", "-f", KEYS / "charge")
    if not (KEYS / "host").exists():
        run("dropbearkey", "-t", "ed25519", "-f", KEYS / "host")
    if not (KEYS / "operator").exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", KEYS / "operator")
    if not (KEYS / "charge.openssh").exists():
        run("dropbearconvert", "dropbear", "openssh", KEYS / "charge", KEYS / "charge.openssh")
        (KEYS / "charge.openssh").chmod(0o600)
    return KEYS


def public_line(key):
    """The authorized_keys line of a private key in Dropbear's format."""
    for line in run("dropbearkey", "-y", "-f", key).splitlines():
        if line.startswith("ssh-"):
            return line
    sys.exit(f"image: dropbearkey printed no public key for {key}")


def installed_files(other_init):
    """The shipped files of a controller: (source, destination, mode), without `other_init`'s.

    From packaging/files.list, from which the package installs too.
    """
    for line in (TOP / "packaging/files.list").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            source, destination, mode, when = line.split()
            if when == other_init:
                continue
            source = source.replace("@ARM@", str(BUILD / "arm"))
            destination = destination.replace("@SCRIPTS@", "/home/charge")
            yield TOP / source, destination, int(mode, 8)


def build(with_openssh=False, extra=None, with_systemd=False):
    """Builds the image; returns (kernel, initramfs).

    `with_openssh` adds the OpenSSH client, for comparison. `extra` is {path in the guest:
    file here} for files that are not shipped. `with_systemd` makes systemd the first process
    and installs what is shipped for it.
    """
    boot, clients, secret = kernel(), dropbear(), keys()
    fs = Initramfs()
    for path in ("proc", "sys", "dev", "run", "var/log", "var/run", "mnt", "home/charge"):
        fs.directory(path)
    fs.directory("tmp", 0o1777)
    for home in ("root", "root/.ssh", "home/charge/.ssh"):
        fs.directory(home, 0o700)
    fs.copy("init", HERE / "guest/init")
    fs.copy("sbin/run-channel", HERE / "guest/run-channel")
    fs.copy("var/www/index.html", HERE / "guest/dashboard.html", 0o644)
    fs.copy("bin/busybox", busybox())
    for name in ("sh", "mount", "mkdir", "insmod", "ln"):
        fs.link(f"bin/{name}", "busybox")
    fs.copy("usr/bin/dropbearmulti", clients / "dropbearmulti")
    for name in ("dropbear", "dbclient", "dropbearkey"):
        fs.link(f"usr/bin/{name}", "dropbearmulti")
    for module in (boot / "modules").read_text().split():
        fs.copy(f"lib/modules/{module}.ko", boot / f"{module}.ko", 0o644)
    fs.copy("etc/modules", boot / "modules", 0o644)
    fs.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncharge:x:1000:1000::/home/charge:/bin/sh\n")
    fs.file("etc/group", "root:x:0:\ncharge:x:1000:\n")
    fs.file("etc/hosts", "127.0.0.1 localhost\n10.0.2.2 server\n")
    fs.file("etc/hostname", "controller\n")
    fs.copy("etc/dropbear/dropbear_ed25519_host_key", secret / "host", 0o600)
    fs.copy("root/.ssh/authorized_keys", secret / "operator.pub", 0o600)
    fs.copy("home/charge/.ssh/id_rsa", secret / "charge", 0o600)
    for source, destination, mode in installed_files("sysv" if with_systemd else "systemd"):
        if not source.exists():
            sys.exit(f"image: {source} is not there: run 'make arm'")
        fs.copy(destination, source, mode)
    if with_openssh:
        for path, source in openssh().items():
            fs.copy(path, source)
        fs.copy("home/charge/.ssh/id_rsa.openssh", secret / "charge.openssh", 0o600)
    if with_systemd:
        for path, source in systemd().items():
            fs.copy(path, source, source.stat().st_mode & 0o777)
        fs.copy("etc/systemd/system/run-channel.service", HERE / "guest/run-channel.service", 0o644)
        fs.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        wants = {"sysinit": ["systemd-journald.service", "systemd-tmpfiles-setup.service"],
                 "sockets": ["systemd-journald.socket", "systemd-journald-dev-log.socket"],
                 # As systemctl preset-all makes them.
                 "multi-user": ["reachback.service", "reachback-boot.service", "run-channel.service"]}
        for goal, names in wants.items():
            for name in names:
                home = next((f"/{path}" for path in fs.entries if path.endswith(f"/system/{name}")))
                fs.link(f"etc/systemd/system/{goal}.target.wants/{name}", home)
        fs.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    for path, source in (extra or {}).items():
        fs.copy(path, source)
    kind = "-openssh" if with_openssh else "-systemd" if with_systemd else ""
    target = IMAGE / f"initramfs{kind}.gz"
    fs.write(target)
    return boot / "vmlinuz", target


if __name__ == "__main__":
    print(*build(), sep="\n")
