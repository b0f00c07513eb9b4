#!/usr/bin/env python3
"""The Buildroot tree and the files it installs, checked without Buildroot.

    make buildroot-check
"""

import configparser
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import kconfiglib

import device
from device import HERE, PROGRAM, TOP

EXTERNAL = TOP / "buildroot"
PACKAGE = EXTERNAL / "package/reachback"
CARGO = tomllib.loads((TOP / "Cargo.toml").read_text())
ON = {"HOST_RUSTC_TARGET_ARCH_SUPPORTS", "USE_MMU"}
SYMBOL = "BR2_PACKAGE_REACHBACK"


def variables(*more):
    """The package's make variables as {name: value}."""
    done = subprocess.run(
        ["make", "-s", "-f", HERE / "infra.mk", f"TOP={TOP}", *more, "show"],
        check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


class Kconfig(unittest.TestCase):
    """Config.in, read by an implementation of Kconfig."""

    def configure(self, *on, **values):
        os.environ["BR2_EXTERNAL_REACHBACK_PATH"] = str(EXTERNAL)
        kconfig = kconfiglib.Kconfig(str(HERE / "Kconfig.stub"), warn_to_stderr=False)
        self.assertEqual(kconfig.warnings, [])
        for name in on:
            symbol = next(n for n in (f"BR2_{name}", f"BR2_PACKAGE_{name}") if n in kconfig.syms)
            kconfig.syms[symbol].set_value("y")
        for name, value in values.items():
            kconfig.syms[f"BR2_PACKAGE_{name}"].set_value(value)
        return {name: symbol.str_value for name, symbol in kconfig.syms.items() if symbol.nodes}

    def test_one_tick_makes_it_whole(self):
        found = self.configure(*ON, "REACHBACK")
        self.assertEqual(found[SYMBOL], "y")
        self.assertEqual(found["BR2_PACKAGE_HOST_RUSTC"], "y")
        self.assertEqual(found[f"{SYMBOL}_SCRIPTS"], "y")
        self.assertEqual(found[f"{SYMBOL}_SCRIPTS_DIR"], "/home/charge")
        self.assertEqual(found[f"{SYMBOL}_INIT"], "y")
        self.assertEqual(found[f"{SYMBOL}_ARGS"], "")
        self.assertEqual(found[f"{SYMBOL}_SSH_SYMLINK"], "n")
        self.assertEqual(found[f"{SYMBOL}_RUST_SRC"], "")

    def test_it_is_off_until_it_is_ticked(self):
        self.assertEqual(self.configure(*ON)[SYMBOL], "n")

    def test_each_thing_it_needs_is_needed(self):
        for missing in ON:
            with self.subTest(missing=missing):
                found = self.configure(*(ON - {missing}), "REACHBACK")
                self.assertEqual(found[SYMBOL], "n")
                self.assertEqual(found["BR2_PACKAGE_HOST_RUSTC"], "n")
        self.assertEqual(self.configure(*ON, "x86_i586", "REACHBACK")[SYMBOL], "n")

    def test_details_go_with_what_they_belong_to(self):
        found = self.configure(*ON, "REACHBACK", REACHBACK_SCRIPTS="n", REACHBACK_INIT="n")
        self.assertEqual(found[f"{SYMBOL}_SCRIPTS_DIR"], "")
        found = self.configure(*ON, "REACHBACK", REACHBACK_ARGS="-N me@hub", REACHBACK_INIT="n")
        self.assertEqual(found[f"{SYMBOL}_ARGS"], "")

    def test_it_does_not_take_the_name_of_another_ssh_client(self):
        self.assertEqual(self.configure(*ON, "REACHBACK", "REACHBACK_SSH_SYMLINK")[f"{SYMBOL}_SSH_SYMLINK"], "y")
        for other in ("DROPBEAR_CLIENT", "OPENSSH_CLIENT"):
            found = self.configure(*ON, other, "REACHBACK", "REACHBACK_SSH_SYMLINK")
            self.assertEqual(found[f"{SYMBOL}_SSH_SYMLINK"], "n")

    def test_help_keeps_to_the_width_and_the_indentation(self):
        for line in (PACKAGE / "Config.in").read_text().splitlines():
            text = re.match(r"\t  (.*)", line)
            if text:
                self.assertLessEqual(len(text[1]), 62, line)
            self.assertRegex(line, r"^(\S|\t\S|\t  \S|$)", line)


class Makefile(unittest.TestCase):
    """reachback.mk and external.mk."""

    def test_version_and_licence_are_those_of_cargo(self):
        found = variables()
        package = CARGO["workspace"]["package"]
        self.assertEqual(found["REACHBACK_VERSION"], package["version"])
        self.assertEqual(found["REACHBACK_LICENSE"].lower(), package["license"].lower())

    def test_the_profile_is_that_of_cargo(self):
        words = variables()["REACHBACK_CARGO_ENV"].replace('"', "").split()
        found = dict(word.removeprefix("CARGO_PROFILE_RELEASE_").lower().split("=") for word in words)
        profile = CARGO["profile"]["release"]
        wanted = {"opt_level": profile["opt-level"], "lto": profile["lto"]}
        self.assertEqual(found, wanted | {"codegen_units": str(profile["codegen-units"])})

    def flags(self, *more):
        """The flags for rustc, where there are any."""
        found = variables("RUSTC_TARGET_NAME=armv7-unknown-linux-musleabihf", *more)["REACHBACK_CARGO_ENV"]
        flags = re.search(r"CARGO_TARGET_ARMV7_UNKNOWN_LINUX_MUSLEABIHF_RUSTFLAGS='(.*?)'", found)
        return flags and flags[1]

    def test_the_flags_are_those_of_make_arm_and_of_the_infrastructure_that_they_replace(self):
        self.assertIsNone(self.flags())
        arm = ('-Clink-arg=-Wl,--allow-multiple-definition --cfg aes_backend_soft="compact" --cfg cpubits="32"')
        self.assertEqual(self.flags("BR2_arm=y"), arm)
        thumb = f"{arm} -Ctarget-feature=+thumb-mode"
        self.assertEqual(self.flags("BR2_arm=y", "BR2_ARM_INSTRUCTIONS_THUMB2=y"), thumb)
        script = (TOP / "scripts/build-arm.sh").read_text()
        for flag in re.findall('--cfg [^ ]*"', arm):
            self.assertIn(flag, script)

    def test_the_library_from_source_is_that_of_make_arm(self):
        options = ("REACHBACK_CARGO_BUILD_OPTS", "REACHBACK_CARGO_INSTALL_OPTS")
        off = variables(f'{SYMBOL}_RUST_SRC=""')
        self.assertFalse(off.keys() & {*options, "REACHBACK_PRE_CONFIGURE_HOOKS"})
        self.assertNotIn("RUSTC_BOOTSTRAP", off["REACHBACK_CARGO_ENV"])
        on = variables(f'{SYMBOL}_RUST_SRC="/src"')
        for word in ("RUSTC_BOOTSTRAP=1", 'RELEASE_DEBUG="line-tables-only"', 'RELEASE_STRIP="none"'):
            self.assertIn(word, on["REACHBACK_CARGO_ENV"])
        script = (TOP / "scripts/build-arm.sh").read_text().replace("-C ", "-C")
        for flag in [*on[options[0]].split(), *self.flags(f'{SYMBOL}_RUST_SRC="/src"').split()]:
            self.assertIn(flag, script)
        self.assertEqual(on[options[0]], on[options[1]])

    @unittest.skipUnless(os.environ.get("BUILDROOT"), "needs BUILDROOT")
    def test_the_flag_that_it_replaces_is_still_that_of_buildroot(self):
        text = (Path(os.environ["BUILDROOT"]) / "package/pkg-cargo.mk").read_text()
        flags = re.findall(r'_RUSTFLAGS="(-C[^"$]*)"', text)
        self.assertEqual(flags, ["-Clink-arg=-Wl,--allow-multiple-definition"])

    def test_the_hashes_are_those_of_the_licence_files(self):
        named = variables()["REACHBACK_LICENSE_FILES"].split()
        hashes = {}
        for line in (PACKAGE / "reachback.hash").read_text().splitlines():
            if line and not line.startswith("#"):
                kind, value, name = line.split("  ")
                self.assertEqual(kind, "sha256")
                hashes[name] = value
        self.assertEqual(set(hashes), set(named))
        for name in named:
            self.assertEqual(hashlib.sha256((TOP / name).read_bytes()).hexdigest(), hashes[name], name)

    def test_files_are_ascii_with_the_header_and_prefixed_names(self):
        for path in (PACKAGE / "reachback.mk", EXTERNAL / "external.mk"):
            text = path.read_bytes().decode("ascii")
            self.assertEqual(text.splitlines()[0], "#" * 80)
            self.assertNotIn("${", text)
            for name in re.findall(r"^(?:define )?(\w+) *[:+?]?=|^define (\w+)", text, re.MULTILINE):
                name = name[0] or name[1]
                self.assertTrue(name.startswith(("REACHBACK_", "CARGO_")), name)

    def test_the_external_tree_builds_this_source(self):
        found = variables(f"EXTERNAL={EXTERNAL}")
        self.assertEqual(Path(found["REACHBACK_OVERRIDE_SRCDIR"]), TOP)
        self.assertIn("REACHBACK_FETCH_CRATES", found["REACHBACK_PRE_CONFIGURE_HOOKS"])
        self.assertIn("cargo fetch --locked", found["REACHBACK_FETCH_CRATES"])
        hooks = variables(f"EXTERNAL={EXTERNAL}", f"{SYMBOL}_RUST_SRC=/src")["REACHBACK_PRE_CONFIGURE_HOOKS"].split()
        self.assertEqual(hooks[::2], ["REACHBACK_CHECK_RUST_SRC", "REACHBACK_FETCH_CRATES"])
        for path in ("/target", "/build", "/buildroot"):
            self.assertIn(f"--exclude {path}", found["REACHBACK_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS"])

    def test_the_upstream_form_needs_no_external_tree(self):
        self.assertNotIn("EXTERNAL", (PACKAGE / "reachback.mk").read_text())
        self.assertNotIn("REACHBACK_OVERRIDE_SRCDIR", variables())

    def test_the_help_names_the_site_that_is_downloaded_from(self):
        owner_and_name = "/".join(variables()["REACHBACK_SITE"].split("/")[3:5])
        self.assertIn(f"\t  https://github.com/{owner_and_name}\n", (PACKAGE / "Config.in").read_text())

    def test_the_user_is_made_only_where_the_package_invents_it(self):
        self.assertNotIn("REACHBACK_USERS", variables(f'{SYMBOL}_USER="charge"'))
        users = variables(f'{SYMBOL}_USER="reachback"')["REACHBACK_USERS"].split()
        self.assertEqual(users[:6], ["reachback", "-1", "reachback", "-1", "*", "/var/lib/reachback"])


def listed():
    """files.list as (source, destination, mode, when)."""
    for line in (TOP / "packaging/files.list").read_text().splitlines():
        if line and not line.startswith("#"):
            yield tuple(line.split())


class LibrarySource(unittest.TestCase):
    """What the package does with the source of the standard library."""

    def setUp(self):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.host, self.build, self.source = (scratch / name for name in ("host", "build", "source"))
        (self.host / "bin").mkdir(parents=True)
        rustc = self.host / "bin/rustc"
        rustc.write_text("#!/bin/sh\necho 'rustc 1.97.1 (0123abcd 2026-07-01)'\n")
        rustc.chmod(0o755)
        self.build.mkdir()

    def unpack(self, library="library", version="src/version", what="1.97.1\n"):
        for path in (library, version):
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
        (self.source / library).mkdir()
        (self.source / version).write_text(what)
        return self.source / library

    def configure(self):
        done = subprocess.run(
            ["make", "-s", "-f", HERE / "infra.mk", f"TOP={TOP}", f"HOST_DIR={self.host}",
             f"BUILD_DIR={self.build}", f'{SYMBOL}_RUST_SRC="{self.source}"', "configure"],
            capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
        return [line for line in done.stderr.splitlines() if not line.startswith("make: ")], done.returncode

    def test_the_library_is_found_in_an_archive_and_in_a_tree(self):
        archive = ("rust-src/lib/rustlib/src/rust/library", "version", "1.97.1 (0123abcd 2026-07-01)\n")
        for layout in ((), archive):
            with self.subTest(layout=layout):
                shutil.rmtree(self.source, ignore_errors=True)
                library = self.unpack(*layout)
                for _ in range(2):
                    self.assertEqual(self.configure(), ([], 0))
                self.assertEqual((self.host / "lib/rustlib/src/rust/library").resolve(), library)

    def test_another_version_or_none_ends_with_one_line(self):
        begin = f"{SYMBOL}_RUST_SRC: wanted is the source of Rust 1.97.1's library, and {self.source} has"
        self.assertEqual(self.configure(), ([f"{begin} none"], 2))
        self.unpack(what="1.97.0\n")
        self.assertEqual(self.configure(), ([f"{begin} 1.97.0"], 2))
        self.assertFalse((self.host / "lib").exists())

    def test_vendored_crates_of_the_library_are_put_beside_those_of_the_package(self):
        library = self.unpack()
        (self.build / "VENDOR/libc").mkdir(parents=True)
        lines, status = self.configure()
        self.assertEqual((len(lines), status), (1, 2), lines)
        self.assertIn(f"cd {library} && cargo vendor --locked --versioned-dirs", lines[0])
        (library / "vendor/libc").mkdir(parents=True)
        for _ in range(2):
            self.assertEqual(self.configure(), ([], 0))
        self.assertEqual((self.build / "VENDOR/std-libc").resolve(), library / "vendor/libc")
        self.assertEqual({path.name for path in (self.build / "VENDOR").iterdir()}, {"libc", "std-libc"})


class Installed(unittest.TestCase):
    """What the package's own commands put into a target directory."""

    def install(self, **options):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        target = scratch / "target"
        (target / "usr/bin").mkdir(parents=True)
        device.install(target, scratch / "build", **options)
        return target

    def wanted(self, *when, scripts="/home/charge"):
        return {
            destination.replace("@SCRIPTS@", scripts): int(mode, 8)
            for source, destination, mode, group in listed()
            if group in when and not source.startswith("@ARM@")
        }

    def found(self, target):
        return {
            f"/{path.relative_to(target)}": path.stat().st_mode & 0o777
            for path in target.rglob("*") if path.is_file() and not path.is_symlink()
        }

    def test_the_list_and_the_directory_hold_the_same_files(self):
        sources = {source for source, *_ in listed() if not source.startswith("@ARM@")}
        # The completion is for people's machines: a controller has no bash.
        apart = {"files.list", "completion.bash"}
        self.assertEqual(sources, {f"packaging/{path.name}" for path in (TOP / "packaging").iterdir()
                                   if path.name not in apart})
        self.assertEqual({when for *_, when in listed()}, {"always", "scripts", "init", "sysv", "systemd"})

    def test_exactly_the_listed_files_with_their_modes(self):
        self.assertEqual(self.found(self.install()), self.wanted("always", "scripts", "init", "sysv"))

    def test_what_is_called_is_executable_and_nothing_else_is(self):
        called = {path for path, mode in self.found(self.install()).items() if mode & 0o111}
        self.assertEqual(called, {"/etc/init.d/S60reachback", "/home/charge/custom_script1.sh",
                                  "/home/charge/custom_script2.sh"})

    def test_with_systemd_the_unit_instead_of_the_init_script(self):
        target = self.install(INIT_SYSV="", INIT_SYSTEMD="y")
        self.assertEqual(self.found(target), self.wanted("always", "scripts", "init", "systemd"))

    def test_without_scripts_and_service_only_the_configuration(self):
        target = self.install(SCRIPTS="", INIT="")
        self.assertEqual(self.found(target), self.wanted("always"))

    def test_the_scripts_go_where_they_are_wanted(self):
        target = self.install(SCRIPTS_DIR='"/opt/ocpp"')
        self.assertEqual(self.found(target),
                         self.wanted("always", "scripts", "init", "sysv", scripts="/opt/ocpp"))

    def test_no_key_is_ever_installed(self):
        for path in self.found(self.install()):
            self.assertNotRegex(path, r"\.ssh|id_|_key")

    def test_the_arguments_reach_the_service_and_the_user_the_configuration(self):
        line = '"-N -R 1111:localhost:22 me@hub.example"'
        target = self.install(ARGS=line, USER='"charge"')
        shown = subprocess.run(
            ["sh", "-c", '. "$0"; printf %s "$REACHBACK_ARGS"', target / "etc/default/reachback"],
            capture_output=True, text=True, check=True)
        self.assertEqual(shown.stdout, line.strip('"'))
        self.assertTrue((target / "etc/reachback/config").read_text().startswith("RunAsUser charge\n"))

    def test_a_configuration_and_a_pin_of_ones_own(self):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "config").write_text("Port 2222\n")
        (scratch / "known").write_text("hub ssh-ed25519 AAAA\n")
        target = self.install(CONFIG_FILE=f'"{scratch}/config"', KNOWN_HOSTS_FILE=f'"{scratch}/known"')
        self.assertEqual((target / "etc/reachback/config").read_text(),
                         "UserKnownHostsFile /etc/reachback/known_hosts\nPort 2222\n")
        self.assertEqual((target / "etc/reachback/known_hosts").read_text(), "hub ssh-ed25519 AAAA\n")

    def test_a_pin_counts_with_an_empty_configuration_too(self):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "config").write_text("")
        (scratch / "known").write_text("hub ssh-ed25519 AAAA\n")
        target = self.install(CONFIG_FILE=f'"{scratch}/config"', KNOWN_HOSTS_FILE=f'"{scratch}/known"')
        self.assertEqual((target / "etc/reachback/config").read_text(),
                         "UserKnownHostsFile /etc/reachback/known_hosts\n")

    def test_a_list_that_names_nothing_is_an_error(self):
        scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (scratch / "build/packaging").mkdir(parents=True)
        (scratch / "build/packaging/files.list").write_text("# nothing\n")
        with self.assertRaisesRegex(AssertionError, "install commands failed"):
            device.install(scratch / "target", scratch / "build", INIT="", SCRIPTS="")

    def test_the_symbolic_links_lead_to_the_program(self):
        target = self.install(SSH_SYMLINK="y")
        for name in ("ssh", "dbclient"):
            self.assertEqual(os.readlink(target / "usr/bin" / name), "reachback")


# Programs that the init script calls. Each is in Buildroot's package/busybox/busybox.config.
APPLETS = {"cat", "chown", "env", "grep", "ls", "mkdir", "readlink", "rm", "sed", "seq", "sh",
           "sleep", "start-stop-daemon", "tr", "xargs"}
# Built into the shell.
BUILTINS = {"echo", "kill", "printf", "set", "shift", "test", "trap"}
# Words of the script that are names of applets as well.
PROSE = {"yes"}


class InitScript(unittest.TestCase):
    """What Debian's larger BusyBox, on which test_init.py runs it, would hide."""

    def used(self):
        text = (TOP / "packaging/S60reachback").read_text()
        code = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
        listed = subprocess.run([device.BUSYBOX, "--list"], capture_output=True, text=True, check=True)
        return {word for word in re.findall(r"(?<![\w/$-])[a-z][a-z0-9-]*", code)} & set(listed.stdout.split())

    @unittest.skipUnless(device.BUSYBOX, "needs busybox")
    def test_it_calls_only_applets_that_buildroot_has_by_default(self):
        self.assertEqual(self.used() - BUILTINS - PROSE, self.used() & APPLETS)

    @unittest.skipUnless(os.environ.get("BUILDROOT"), "needs BUILDROOT")
    def test_buildroot_has_them_indeed(self):
        config = (Path(os.environ["BUILDROOT"]) / "package/busybox/busybox.config").read_text()
        for applet in APPLETS:
            name = {"sh": "SH_IS_ASH"}.get(applet, applet.upper().replace("-", "_"))
            self.assertIn(f"CONFIG_{name}=y\n", config)
        for feature in ("XARGS_SUPPORT_ZERO_TERM", "START_STOP_DAEMON_FANCY",
                        "START_STOP_DAEMON_LONG_OPTIONS", "FANCY_SLEEP"):
            self.assertIn(f"CONFIG_FEATURE_{feature}=y\n", config)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Configuration(unittest.TestCase):
    """packaging/config against the program."""

    def lines(self):
        text = (TOP / "packaging/config").read_text()
        return re.findall(r"^#(\w+) (.+)$", text, re.MULTILINE)

    def test_everything_is_commented(self):
        for line in (TOP / "packaging/config").read_text().splitlines():
            self.assertRegex(line, r"^(#.*)?$")

    def test_every_keyword_is_there_with_its_default(self):
        shown = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
        shown = shown.partition("Keywords")[2].partition("\nExit codes")[0]
        # What did not fit is on lines of its own.
        shown = re.sub(r"\n {3,}", " ", shown)
        known = dict(re.findall(r"^  (\w+) +.*?(?: \(([^()]*)\))?$", shown, re.MULTILINE))
        found = dict(self.lines())
        self.assertEqual(len(found), len(self.lines()), "each once")
        self.assertEqual(set(found), set(known))
        for keyword, default in known.items():
            if default:
                self.assertEqual(found[keyword], default, keyword)

    def test_every_line_is_accepted_once_it_is_uncommented(self):
        with tempfile.NamedTemporaryFile("w", suffix=".config") as file:
            file.writelines(f"{keyword} {value}\n" for keyword, value in self.lines())
            file.flush()
            done = subprocess.run([PROGRAM, "-F", file.name, "-o", "RuntimeDirectory=/nonexistent",
                                   "-O", "check", "me@hub.example"], capture_output=True, text=True, check=False)
        # EX_UNAVAILABLE: the configuration was read, and there is no such tunnel.
        self.assertEqual(done.returncode, 69, done.stderr)

    def unit(self, name):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(TOP / "packaging" / name)
        return unit

    def test_the_units_have_what_systemd_needs(self):
        for name in ("reachback.service", "reachback@.service"):
            unit = self.unit(name)
            self.assertEqual(unit["Service"]["ExecStart"].split()[0], "/usr/bin/reachback")
        for name in ("reachback.service", "reachback-boot.service"):
            self.assertEqual(self.unit(name)["Install"]["WantedBy"], "multi-user.target")
        self.assertNotIn("Install", self.unit("reachback@.service"))

    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze")
    def test_what_a_unit_is_exposed_to(self):
        for name in ("reachback.service", "reachback@.service"):
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=35",
                                   TOP / "packaging" / name], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_name_that_is_refused_keeps_no_other_unit_from_being_started(self):
        line = self.unit("reachback-boot.service")["Service"]["ExecStart"].replace("$$", "$")
        stubs = """reachback() { printf 'one\\ntwo\\n'; return 78; }
systemd-escape() { echo "$3"; }
systemctl() { echo "$3"; }
"""
        words = shlex.split(line)
        self.assertEqual(words[:2], ["/bin/sh", "-c"])
        # Debian's sh has no functions with a hyphen in their names.
        done = subprocess.run(["bash", "-c", stubs + words[2]], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (78, "one\ntwo\n"), done.stderr)

    def test_both_units_of_a_tunnel_run_it_in_the_same_way(self):
        apart = {"ExecStart", "ExecCondition", "EnvironmentFile"}
        first, second = (dict(self.unit(name)["Service"]) for name in ("reachback.service", "reachback@.service"))
        self.assertEqual({k: v for k, v in first.items() if k not in apart},
                         {k: v for k, v in second.items() if k not in apart})


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
