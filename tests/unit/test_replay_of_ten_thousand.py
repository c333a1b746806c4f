"""A replay of 10,000 triggers never delays a live one (CONTRACT, section 6)."""

import json

from tests.fuzz.rig import DEVICE, START_MS, Rig

MANY = 10_000
LIVE_EVERY = 50  # turns


def body(number: int, channel: str, ms: int) -> bytes:
    dto = {
        "deviceId": DEVICE,
        "timestamp": (START_MS + ms) * 10_000 + number,
        "timingChannel": channel,
        "fallingEdge": True,
        "valid": True,
        "blocked": False,
        "type": "StartNumberTrigger",
        "startNumber": {"startNumber": number, "type": "SEQUENTIAL"},
    }
    return json.dumps({"type": "ENTITY_ADD", "dto": dto}).encode()


def test_live_triggers_pass_a_replay_of_ten_thousand():
    rig = Rig()
    try:
        for number in range(MANY):
            rig.push(body(number, "C1", 1_000))
        rig.told.clear()
        rig.begin("replay", b'{"transaction": "all", "channel": "C1"}')
        passed = turns = 0
        while not any(one.topic == "mt1/bridge/response/replay" for one in rig.told):
            turns += 1
            if turns % LIVE_EVERY:
                rig.one_turn()
                continue
            before = len(rig.told)
            rig.one_turn(body(turns, "C2", 2_000))
            rig.one_turn()
            assert f"mt1/device/{DEVICE}/C2/trigger" in {one.topic for one in rig.told[before:]}, turns
            passed += 1
        replayed = [one for one in rig.told if one.topic == "mt1/bridge/replay/all"]
        assert len(replayed) == MANY
        assert json.loads(rig.told[-1].payload)["count"] == MANY
        assert passed >= 5, "nothing live came meanwhile, so nothing was shown"
    finally:
        rig.close()
