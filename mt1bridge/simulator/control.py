"""`Control`: every verb by which tests, the demo and /control/ move the simulator."""

import asyncio
import inspect
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mt1bridge.simulator.load import Loads
from mt1bridge.simulator.reports import Reports
from mt1bridge.simulator.timing import Timing
from mt1bridge.simulator.traffic import Traffic
from mt1bridge.simulator.trouble import Trouble
from mt1bridge.simulator.world import World


class Control(Timing, Trouble, Reports, Loads, Traffic):
    """All verbs take and return plain JSON values and run at once, in the simulator's loop."""

    def __init__(self, world: World) -> None:
        Loads.__init__(self, world)
        Traffic.__init__(self, world)


VERBS = frozenset(name for name, _ in inspect.getmembers(Control, inspect.isfunction) if not name.startswith("_"))


def call(control: Control, verb: str, arguments: Mapping[str, Any]) -> Any:
    """Carry a verb out by name. LookupError: no such verb, device, account or trigger; ValueError or TypeError:
    wrong arguments."""
    if verb not in VERBS:
        raise LookupError(f"no such verb: {verb}; there are {', '.join(sorted(VERBS))}")
    method = getattr(control, verb)
    inspect.signature(method).bind(**arguments)
    return method(**arguments)


class ControlOverHttp:
    """POST /control/<verb> with a JSON object of the arguments; GET for verbs without any, or with texts only."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/", self.verbs),
            web.get("/control/wait_load", self.wait_load),
            web.get("/control/{verb}", self.get),
            web.post("/control/{verb}", self.post),
        ]

    async def verbs(self, _request: web.Request) -> web.Response:
        """What there is: verb, arguments, meaning."""
        members = {verb: getattr(Control, verb) for verb in sorted(VERBS)}
        return web.json_response(
            {
                verb: {"arguments": list(inspect.signature(one).parameters)[1:], "meaning": inspect.getdoc(one)}
                for verb, one in members.items()
            }
        )

    async def wait_load(self, request: web.Request) -> web.Response:
        """?load=<number>&timeout=<seconds>: answers when the load is through, or with what there is by then."""
        try:
            load, timeout = int(request.query["load"]), float(request.query.get("timeout", "60"))
            await asyncio.wait_for(self._control._finished(load), timeout)
        except TimeoutError:
            pass
        except (LookupError, ValueError) as problem:
            return web.json_response({"ok": False, "error": f"no such load: {problem}"}, status=400)
        return await self._answer("load_progress", {"load": load})

    async def get(self, request: web.Request) -> web.Response:
        return await self._answer(request.match_info["verb"], dict(request.query))

    async def post(self, request: web.Request) -> web.Response:
        try:
            arguments = json.loads(await request.text() or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return web.json_response({"ok": False, "error": "the body is not a JSON object"}, status=400)
        return await self._answer(request.match_info["verb"], arguments)

    async def _answer(self, verb: str, arguments: dict[str, Any]) -> web.Response:
        try:
            result = call(self._control, verb, arguments)
        except LookupError as problem:
            return web.json_response({"ok": False, "error": str(problem.args[0])}, status=404)
        except (ValueError, TypeError) as problem:
            return web.json_response({"ok": False, "error": str(problem)}, status=400)
        return web.json_response({"ok": True, "result": result})
