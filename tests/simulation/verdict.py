"""What must be true once faults are over and the world is quiet."""

import json
from typing import TYPE_CHECKING, Any

from mt1bridge.model.trigger import TriggerId
from tests.simulation.timeline import BASE_MS
from tests.simulation.truth import Identity, State
from tests.simulation.witness import Breach, Told

FIRST_READ_S = 200.0  # the first reading may have to be repeated

if TYPE_CHECKING:
    from tests.simulation.world import World


def judge(world: "World") -> None:
    """Raises Breach."""
    if world.life.process is None:
        raise Breach("down", "the bridge does not run")
    for identity in world.truth.identities.values():
        if identity.steps:
            _told(world, identity, world.witness.told.get(identity.id))
    _standing(world)
    for device in world.server.devices:
        for channel in (0, 1, 5):
            _last(world, device, channel)
            _tally(world, device, channel)
        _recent(world, device)


def _told(world: "World", identity: Identity, told: Told | None) -> None:
    """Nothing stored is untold, and what was told last is how it is."""
    if told is None:
        if (identity.rows or identity.pushed()) and not identity.old and not _may_have_been_there(world, identity):
            raise Breach("lost", f"{identity.id} was never told")
        return
    if identity.old and not told.usable_told:
        return
    if identity.timestamp < BASE_MS * 10_000 and identity.old and not world.witness.lost_at:
        raise Breach("old", f"{identity.id} was there before the first start, and is told")
    ends = identity.right_ends(told.blind)
    if not any(_same(told, end) for end in ends) and not _forgotten(world, identity, told):
        right = " or ".join(_words(end) for end in ends)
        raise Breach("state", f"{identity.id} is told as {_told_words(told)} and is {right}")


def _forgotten(world: "World", identity: Identity, told: Told) -> bool:
    """The disk lost what was told of it, and what happened to it meanwhile shows nowhere: nobody could know."""
    if told.at > world.witness.lost_at:
        return False
    process = world.life.process
    assert process is not None  # looked at first
    id = TriggerId(identity.device, f"C{identity.channel}", identity.timestamp)
    known = process.journal.known([id]).get(id)
    if known is None or known.reading is None:
        return not identity.rows
    return known.revision <= told.revision and any(  # each journal counts by itself
        known.in_effect == end.in_effect and (not end.in_effect or known.reading.start_number == end.row.number)
        for end in identity.right_ends()
    )


def _may_have_been_there(world: "World", identity: Identity) -> bool:
    """It is older than the first start, and was shown before the channel was first read."""
    first_read = world.server.first_read.get((identity.device, identity.channel), float("inf"))
    soon = identity.shown_at < first_read + FIRST_READ_S
    return identity.timestamp < BASE_MS * 10_000 and (soon or identity.shown_first)


def _same(told: Told, state: State) -> bool:
    if told.body["in_effect"] != state.in_effect:
        return False
    row = state.row
    return not state.in_effect or (
        told.body["start_number"] == row.number
        and told.body["valid"] == row.valid
        and told.body["blocked"] == row.blocked
    )


def _words(state: State) -> str:
    return f"number {state.row.number} {'in effect' if state.in_effect else 'gone'}"


def _told_words(told: Told) -> str:
    word = "in effect" if told.body["in_effect"] else "gone"
    return f"number {told.body['start_number']} {word} ({told.kind}, {told.journal} revision {told.revision})"


def reconciling(world: "World") -> bool:
    """Whether a comparison with history is under way that the bridge waits for."""
    upstream = json.loads(world.broker.retained.get("mt1/bridge/upstream", b"{}"))
    return bool(upstream.get("state") == "reconciling")


def _standing(world: "World") -> None:
    retained = world.broker.retained
    if retained.get("mt1/bridge/state") != b"online":
        raise Breach("standing", f"bridge/state is {retained.get('mt1/bridge/state')!r}")
    upstream = json.loads(retained.get("mt1/bridge/upstream", b"{}"))
    if upstream.get("state") != "live":
        raise Breach("standing", f"upstream is {upstream}")
    for topic, payload in retained.items():
        kind = topic.rsplit("/", 1)[-1]
        if kind in ("trigger", "correction", "rejected"):
            raise Breach("retained", topic)
        if kind == "availability" and payload != b"online":
            raise Breach("standing", f"{topic} is {payload!r}")
        if "/alert/" in topic and "device_clock" not in topic and "only_rejected" not in topic:
            raise Breach("standing", f"{topic}: {payload!r}")


def _in_effect(world: "World", device: str, channel: int | None = None) -> dict[str, Told]:
    """What a consumer knows to be in effect, of what stood on `trigger`."""
    found = {}
    for id, told in world.witness.told.items():
        body = told.body
        fits = body["device"] == device and (channel is None or body["channel"] == f"C{channel}")
        if not (fits and told.usable_told and body["in_effect"]):
            continue
        if told.at > world.witness.lost_at or not _forgotten(world, world.truth.identities[id], told):
            found[id] = told
    return found


def _last(world: "World", device: str, channel: int) -> None:
    topic = f"mt1/device/{device}/C{channel}/last"
    known = _in_effect(world, device, channel)
    if topic not in world.broker.retained:
        if known or channel < 2:
            raise Breach("last", f"{topic} is not retained")
        return
    last = json.loads(world.broker.retained[topic])
    if last["id"] is None:
        if known:
            raise Breach("last", f"{topic} is empty, and {sorted(known)} are in effect")
        return
    _matches(world, topic, last, known)
    lives = [id for id in known if id in world.witness.lives]
    newest = max((int(told.body["timestamp"]) for told in known.values()), default=0)
    if int(last["timestamp"]) != newest and last["id"] not in lives and last["id"] in known:
        raise Breach("last", f"{topic} is {last['id']}, which is neither the newest nor was ever live")


def _matches(world: "World", topic: str, shown: dict[str, Any], known: dict[str, Told]) -> None:
    told = known.get(shown["id"])
    if told is None and world.witness.told[shown["id"]].at <= world.witness.lost_at:
        return
    if told is None:
        raise Breach("last", f"{topic} shows {shown['id']}, which is not in effect")
    keys = ["start_number", "start_number_type", "valid", "blocked", "falling_edge", "time"]
    if shown["journal"] == told.journal:
        keys.append("revision")
    for key in keys:
        if shown[key] != told.body[key]:
            raise Breach("last", f"{topic} shows {shown['id']} with {key} {shown[key]!r}, told: {told.body[key]!r}")


def _recent(world: "World", device: str) -> None:
    topic = f"mt1/device/{device}/recent"
    recent = json.loads(world.broker.retained.get(topic, b"[]"))
    known = _in_effect(world, device)
    for shown in recent:
        _matches(world, topic, shown, known)
    if len(recent) != min(20, len(known)) and not world.witness.lost_at:
        raise Breach("recent", f"{topic} shows {len(recent)} triggers, {len(known)} are in effect")


def _tally(world: "World", device: str, channel: int) -> None:
    topic = f"mt1/device/{device}/C{channel}/tally"
    if topic not in world.broker.retained:
        if channel < 2 or _in_effect(world, device, channel):
            raise Breach("tally", f"{topic} is not retained")
        return
    tally = json.loads(world.broker.retained[topic])
    if tally["complete"] is not True or tally["missing"]:
        raise Breach("tally", f"{topic} is {tally}")
    if tally["server_count"] != len(world.server.rows(device, channel)):
        raise Breach("tally", f"{topic} is {tally}, the server has {len(world.server.rows(device, channel))}")
    if world.witness.journals == 1:
        ids = [i for i, told in world.witness.told.items() if told.body["device"] == device]
        here = [i for i in ids if world.witness.told[i].body["channel"] == f"C{channel}"]
        published = sum(world.witness.told[i].usable_told for i in here)
        if tally["published"] != published or tally["in_effect"] != len(_in_effect(world, device, channel)):
            told = len(_in_effect(world, device, channel))
            raise Breach("tally", f"{topic} is {tally}; told were {published}, in effect are {told}")
