"""A disk that has no room, neither for the journal nor for what is read of history, stops nothing."""

from bridge_house import HUT, NOON, Server, device, house, settings
from full_disk import no_room_for_files

ROWS = 12_000


def stored(number):
    """A trigger of the last hours that history lists."""
    return {
        "deviceId": HUT,
        "timestamp": (NOON + 61_000 + number) * 10_000,
        "timingChannel": "C1",
        "type": "StartNumberTrigger",
        "startNumber": {"startNumber": number, "type": "MANUAL"},
        "valid": True,
        "blocked": False,
        "fallingEdge": True,
    }


def test_a_long_history_is_told_whole_and_once(tmp_path):
    server = Server()
    with house(tmp_path, settings(tmp_path, device(HUT)), server) as running:
        server.rows[HUT, "1"] = [stored(number) for number in range(ROWS, 0, -1)]
        with no_room_for_files():
            running.run(600)
            told = [body["start_number"] for body in running.told("/C1/trigger")]
        assert told == list(range(1, ROWS + 1))
        assert running.events().count("history_read_again") == 1
