"""What a person does at the server's end of the tunnel: a browser, a shell."""

import subprocess
import urllib.error
import urllib.request

import image

# A line of the dashboard page, so that it cannot be mistaken for another.
DASHBOARD_LINE = "<h1>Charge controller</h1>"


def dashboard(port, timeout_s=10):
    """Fetches the dashboard through the forward at 127.0.0.1:`port`; None if it fails."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=timeout_s) as page:
            return page.read().decode()
    except (OSError, urllib.error.URLError):
        return None


def has_dashboard(port):
    page = dashboard(port)
    return page is not None and DASHBOARD_LINE in page


def ssh_command(port):
    """The ssh command line that reaches the controller's Dropbear at 127.0.0.1:`port`."""
    options = [
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "ConnectTimeout=15",
        "StrictHostKeyChecking=accept-new",
        f"UserKnownHostsFile={image.KEYS}/known_hosts",
        # Whatever the port, it is the same controller.
        "HostKeyAlias=controller",
        "LogLevel=ERROR",
    ]
    command = ["ssh", "-F", "none", "-p", str(port), "-i", str(image.KEYS / "operator")]
    for option in options:
        command += ["-o", option]
    return [*command, "root@127.0.0.1"]


def shell(port, command, timeout_s=30):
    """Runs a command on the controller over SSH; its output, or None if that failed."""
    try:
        done = subprocess.run(
            [*ssh_command(port), command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
