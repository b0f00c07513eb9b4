"""The demo's part with OCPP=1: values from a central system to the booted controller's scripts, 1.6J and 2.0.1.

The charge point is a double that runs here and calls the controller's scripts (tests/ocpp/doubles.py).
"""

import asyncio
import shlex
import sys

import image

sys.path.insert(1, str(image.TOP / "tests/ocpp"))

import doubles

MESSAGES = {"1.6": "ChangeConfiguration", "2.0.1": "SetVariables"}


def values(destination):
    """Version, script, value, status, and whether the scripts' forwards work from then on."""
    return [
        ("1.6", 1, "off", "Accepted", None),
        ("1.6", 2, "off", "Accepted", (False, False)),
        ("1.6", 1, "$(reboot)@hub.example", "Rejected", None),
        ("1.6", 1, destination, "Accepted", None),
        ("1.6", 2, destination, "Accepted", (True, True)),
        ("2.0.1", 2, "-oProxyCommand=reboot", "Rejected", (True, True)),
        ("2.0.1", 2, "stop", "Accepted", (True, False)),
        ("2.0.1", 2, destination, "Accepted", (True, True)),
    ]


async def run(controller, values, ports, wait_for, say):
    """Sends each of `values`; `wait_for` is given what has to work. Raises AssertionError for another answer."""
    async def execute(_, script, argument):
        port = ports[int(script.removesuffix(".sh")[-1])]
        outcome = controller.run(f"REACHBACK_REMOTE_PORT={port} {script} {shlex.quote(argument)}", 15)
        return doubles.Ended(outcome.status, outcome.output.strip())

    doubles.Stack.execute = execute
    doubles.Stack.scripts = {f"InvokeCustomScript{n}": f"/home/charge/custom_script{n}.sh" for n in ports}
    for version in MESSAGES:
        async with doubles.session(version) as central:
            for wanted, script, value, status, works in values:
                if wanted != version:
                    continue
                key = f"InvokeCustomScript{script}"
                answer = await central.change(key, value)
                reason = f" ({answer.reason}: {answer.text})" if answer.reason else ""
                say(f"OCPP {version}, {MESSAGES[version]} {key} = {value}: {answer.status}{reason}")
                assert answer.status == status, f"not {status}"
                if works:
                    wait_for(works)


def show(*arguments):
    """As `run`."""
    asyncio.run(run(*arguments))
