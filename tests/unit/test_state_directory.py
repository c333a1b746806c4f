"""The directory that outlives the process: one process at a time, files that are whole or as they were before."""

import multiprocessing
import os
import stat

import pytest

from mt1bridge.model.errors import BridgeError
from mt1bridge.runtime.state_directory import InUseError, StateDirectory


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path / "deep" / "state")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def is_root():
    return os.geteuid() == 0


def test_a_directory_that_is_not_there_is_made_for_us_alone(state):
    assert mode(state.path) == 0o700
    assert state.trouble is None


def test_what_is_written_is_read_back_and_for_us_alone_whatever_the_umask(state):
    before = os.umask(0)
    try:
        assert state.write("token.json", b'{"a": 1}') is None
    finally:
        os.umask(before)
    assert state.read("token.json") == b'{"a": 1}'
    assert state.read_json("token.json") == {"a": 1}
    assert mode(state.path / "token.json") == 0o600


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(state):
    state.write("budget.json", b"x" * 10_000)
    state.write("budget.json", b"short")
    assert state.read("budget.json") == b"short"
    assert [path.name for path in state.path.iterdir()] == ["budget.json"]


def test_what_an_earlier_process_left_half_written_is_no_hindrance(state):
    (state.path / ".budget.json.new").write_bytes(b"half")
    assert state.write("budget.json", b"whole") is None
    assert state.read("budget.json") == b"whole"


def test_a_link_that_somebody_laid_is_not_followed(state, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    (state.path / ".token.json.new").symlink_to(elsewhere)
    assert state.write("token.json", b"secret") is not None
    assert elsewhere.read_bytes() == b"mine"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_nothing(state, content):
    state.write("token.json", content)
    assert state.read_json("token.json") is None


def test_what_is_not_there_is_nothing_and_can_be_removed(state):
    assert state.read("token.json") is None
    assert state.read_json("token.json") is None
    state.remove("token.json")
    state.write("token.json", b"{}")
    state.remove("token.json")
    assert state.read("token.json") is None


@pytest.mark.skipif(is_root(), reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_a_trouble_told_in_words(state):
    state.path.chmod(0o500)
    try:
        assert "token.json" in (state.write("token.json", b"{}") or "")
    finally:
        state.path.chmod(0o700)


def test_a_place_where_no_directory_can_be_is_a_trouble_and_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    state = StateDirectory(tmp_path / "file" / "state")
    assert state.trouble
    state.lock()
    assert state.write("token.json", b"{}") is not None
    assert state.read("token.json") is None
    assert state.free_bytes() == -1
    state.remove("token.json")
    state.unlock()


def test_room_is_measured_where_the_directory_is(state):
    assert state.free_bytes() > 0


# --- one process at a time --------------------------------------------------------------------------


def test_a_second_one_is_turned_away_and_told_who_holds_it(state):
    state.lock()
    other = StateDirectory(state.path)
    with pytest.raises(InUseError) as caught:
        other.lock()
    assert str(os.getpid()) in str(caught.value)
    assert str(state.path) in str(caught.value)
    assert isinstance(caught.value, BridgeError)


def test_one_that_was_turned_away_takes_nothing_from_the_one_that_holds_it(state):
    state.lock()
    with pytest.raises(InUseError):
        StateDirectory(state.path).lock()
    assert state.read("pid") == str(os.getpid()).encode()
    with pytest.raises(InUseError):
        StateDirectory(state.path).lock()


def test_after_the_first_has_let_go_the_second_may(state):
    state.lock()
    state.unlock()
    state.unlock()
    other = StateDirectory(state.path)
    other.lock()
    other.unlock()
    assert not (state.path / "pid").exists()


def hold_and_die(path, held):
    StateDirectory(path).lock()
    held.set()
    os._exit(9)


def test_a_process_that_died_holds_nothing(state):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold_and_die, args=(state.path, held))
    process.start()
    process.join(60)
    assert held.is_set()
    state.lock()
    assert state.read("pid") == str(os.getpid()).encode()
    state.unlock()


# --- a disk that takes nothing ------------------------------------------------------------------------


@pytest.fixture
def unwritable(tmp_path):
    """Neither can be made nor written, by root either: a file is in its place."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "state"


@pytest.fixture
def spare(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_what_the_disk_does_not_take_stands_in_the_spare_for_the_next_process(unwritable, spare):
    assert StateDirectory(unwritable, spare).write("budget.json", b"1") is None
    assert mode(spare / "budget.json") == 0o600
    later = StateDirectory(unwritable, spare)
    later.lock()
    assert later.read("budget.json") == b"1"
    assert not later.forgetful


def test_the_spare_is_newer_than_the_disk_until_the_disk_takes_writes_again(tmp_path, spare):
    path = tmp_path / "state"
    state = StateDirectory(path, spare)
    state.write("budget.json", b"old")
    (path / ".budget.json.new").mkdir()  # so that it cannot be replaced
    assert state.write("budget.json", b"newer") is None
    assert state.read("budget.json") == b"newer"
    (path / ".budget.json.new").rmdir()
    assert state.write("budget.json", b"newest") is None
    assert list(spare.iterdir()) == []
    assert state.read("budget.json") == b"newest"


def test_what_is_removed_is_gone_from_both(tmp_path, spare):
    state = StateDirectory(tmp_path / "state", spare)
    for place in (state.path, spare):
        (place / "token.json").write_bytes(b"{}")
    state.remove("token.json")
    assert state.read("token.json") is None


def test_without_a_spare_a_disk_that_takes_nothing_is_forgetful(unwritable):
    state = StateDirectory(unwritable)
    state.lock()
    assert state.forgetful


def test_a_disk_that_takes_writes_is_not_forgetful(state):
    state.lock()
    assert not state.forgetful
