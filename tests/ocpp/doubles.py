"""Both ends of OCPP, with the messages of the `ocpp` library over a WebSocket on loopback: 1.6J and 2.0.1.

The central system is what an operator's backend sends. The charge point is a DOUBLE: it stands for
the controller's own stack, of which it does one thing only, and this is all that it assumes of it:

- A value for the key (2.0.1: variable) `InvokeCustomScript1` or `2` becomes the one argument of
  custom_script1.sh or 2, without a shell between, cut at a NUL as C does it.
- Exit status 0 is `Accepted`, any other `Rejected`. In 2.0.1 the end of what the script prints goes along; in 1.6
  there is no room for it, and it is thrown away.
- Other keys are not known.
- It waits for the script and the end of its output before it answers; what comes meanwhile runs beside it.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass

import websockets
from ocpp import v16, v201
from ocpp.charge_point import camel_to_snake_case
from ocpp.routing import on
from ocpp.v201.datatypes import ComponentType, SetVariableDataType, VariableType

PATIENCE_S = 60
COMPONENT = "CustomScript"
VARIABLE = "InvokeCustomScript"
# Names of the 2.0.1 appendix for exit statuses of sysexits(3).
REASONS = {64: "InvalidValue", 77: "NotEnabled"}


@dataclass
class Answer:
    """What a value came to: status as OCPP has it; in 2.0.1 why not."""

    status: str
    reason: str = ""
    text: str = ""


@dataclass
class Ended:
    """What a script left: exit status and what it printed."""

    status: int
    text: str


class Stack:
    """What a charge point does with a value, in both versions."""

    scripts = {}
    environment = {}
    ended = []
    output = asyncio.subprocess.PIPE

    async def execute(self, script, argument):
        """Runs a script here."""
        process = await asyncio.create_subprocess_exec(
            script, argument, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=self.output, stderr=asyncio.subprocess.STDOUT)
        text = ((await process.communicate())[0] or b"").decode(errors="replace").strip()
        return Ended(process.returncode, text)

    async def invoke(self, key, value):
        """What the script of that key left; None where there is none."""
        script = self.scripts.get(key)
        if script is None:
            return None
        self.ended.append(await self.execute(script, value.split("\0")[0]))
        return self.ended[-1]

    async def start(self):
        """As the library's, but a call does not wait for the one before it: the worst that a stack can do."""
        calls = []
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                calls.append(asyncio.create_task(self.route_message(await self._connection.recv())))
        await asyncio.gather(*calls)


class ChargePoint16(Stack, v16.ChargePoint):
    output = asyncio.subprocess.DEVNULL

    @on("ChangeConfiguration")
    async def change(self, key, value):
        ended = await self.invoke(key, value)
        status = "NotSupported" if ended is None else "Rejected" if ended.status else "Accepted"
        return v16.call_result.ChangeConfiguration(status=status)


class ChargePoint201(Stack, v201.ChargePoint):
    @on("SetVariables")
    async def set_variables(self, set_variable_data):
        return v201.call_result.SetVariables([await self.one(data) for data in set_variable_data])

    async def one(self, data):
        result = {"component": data["component"], "variable": data["variable"]}
        if data["component"]["name"] != COMPONENT:
            return {"attribute_status": "UnknownComponent", **result}
        ended = await self.invoke(data["variable"]["name"], data["attribute_value"])
        if ended is None:
            return {"attribute_status": "UnknownVariable", **result}
        if ended.status == 0:
            return {"attribute_status": "Accepted", **result}
        reason = REASONS.get(ended.status, "InternalError")
        return {"attribute_status": "Rejected", **result,
                "attribute_status_info": {"reason_code": reason, "additional_info": ended.text[-512:]}}


class Central16(v16.ChargePoint):
    async def change(self, key, value, checked=True):
        """Sends one value; `checked` by the library against OCPP's schema."""
        done = await self.call(v16.call.ChangeConfiguration(key, value), suppress=False,
                               skip_schema_validation=not checked)
        return Answer(done.status)


class Central201(v201.ChargePoint):
    async def change(self, key, value, checked=True, component=COMPONENT):
        data = SetVariableDataType(value, ComponentType(component), VariableType(key))
        done = await self.call(v201.call.SetVariables([data]), suppress=False, skip_schema_validation=not checked)
        result = camel_to_snake_case(done.set_variable_result[0])
        info = result.get("attribute_status_info", {})
        return Answer(result["attribute_status"], info.get("reason_code", ""), info.get("additional_info", ""))


VERSIONS = {"1.6": ("ocpp1.6", Central16, ChargePoint16), "2.0.1": ("ocpp2.0.1", Central201, ChargePoint201)}


@contextlib.asynccontextmanager
async def session(version):
    """A central system that a charge point has connected to; gives the central's end."""
    protocol, central, charge_point = VERSIONS[version]
    met = asyncio.get_running_loop().create_future()

    async def meet(connection):
        end = central("CP-1", connection, response_timeout=PATIENCE_S)
        met.set_result(end)
        with contextlib.suppress(websockets.ConnectionClosed):
            await end.start()

    async with websockets.serve(meet, "127.0.0.1", 0, subprotocols=[protocol], ping_interval=None) as listener:
        address = "ws://127.0.0.1:%d/CP-1" % listener.sockets[0].getsockname()[1]
        async with websockets.connect(address, subprotocols=[protocol], ping_interval=None) as connection:
            assert connection.subprotocol == protocol
            running = asyncio.create_task(charge_point("CP-1", connection).start())
            yield await met
        await running


async def at_once(central, key, values):
    """Sends 1.6 calls without waiting for an answer to the one before, and gives the answers in their order."""
    for number, value in enumerate(values):
        await central._send(json.dumps([2, str(number), "ChangeConfiguration", {"key": key, "value": value}]))
    answers = [await asyncio.wait_for(central._response_queue.get(), PATIENCE_S) for _ in values]
    found = {answer.unique_id: answer.payload["status"] for answer in answers}
    return [found[str(number)] for number in range(len(values))]
