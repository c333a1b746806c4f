"""One text, one value: durations, numbers, words, topics, addresses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt1bridge.config import addresses, values
from mt1bridge.config.report import Unfit

YEAR_S = 365 * 86_400


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("0", 0), ("0s", 0), ("0d", 0)]
)
def test_durations_are_seconds(text: str, seconds: int) -> None:
    assert values.duration(0, YEAR_S)(text) == seconds


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("90", "90s"),
        ("5min", "5m"),
        ("5 m", "5m"),
        ("12H", "12h"),
        ("1:30", ""),
        ("05m", ""),
        ("-5m", ""),
        ("1.5h", ""),
        ("", ""),
        ("5w", ""),
        ("٣s", ""),
    ],
)
def test_other_durations_are_refused_with_a_guess_where_one_is_safe(text: str, guess: str) -> None:
    with pytest.raises(Unfit, match="90s, 5m, 12h or 30d") as caught:
        values.duration(0, YEAR_S)(text)
    assert caught.value.guess == guess


def test_a_duration_beyond_its_limits_is_refused_with_the_limits() -> None:
    with pytest.raises(Unfit, match="from 1m to 1d"):
        values.duration(60, 86_400)("59s")
    with pytest.raises(Unfit, match="from 1m to 1d"):
        values.duration(60, 86_400)("25h")


@given(st.integers(0, 10 * YEAR_S))
@settings(deadline=None)
def test_a_written_duration_reads_as_itself(seconds: int) -> None:
    assert values.duration(0, 10 * YEAR_S)(values.written(seconds)) == seconds


@pytest.mark.parametrize("text", ["0", "601", "-1", "abc", "1.0", "1_0", "0x1F", "1e2", "", " 5", "५", "9" * 30])
def test_a_whole_number_out_of_range_or_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Unfit, match="a whole number from 1 to 600"):
        values.whole(1, 600)(text)


def test_a_leading_zero_is_refused_because_it_may_mean_octal() -> None:
    with pytest.raises(Unfit, match="without a leading zero"):
        values.whole(1, 600)("017")


@pytest.mark.parametrize("text", ["true", "True", "yes", "ON"])
def test_words_for_true(text: str) -> None:
    assert values.truth(text) is True


@pytest.mark.parametrize("text", ["false", "No", "off"])
def test_words_for_false(text: str) -> None:
    assert values.truth(text) is False


@pytest.mark.parametrize(("text", "guess"), [("1", "true"), ("0", "false"), ("ture", "true"), ("", ""), ("nein", "")])
def test_no_truth(text: str, guess: str) -> None:
    with pytest.raises(Unfit, match="true or false") as caught:
        values.truth(text)
    assert caught.value.guess == guess


@pytest.mark.parametrize(
    "text",
    ["", "#", "a/#", "+/a", "a\x00b", "$SYS", "$share/a", "/a", "a/", "a//b", "/", "é" * 101, "a\nb", "\ud800"],
)
def test_topics_that_brokers_or_subscribers_would_trip_over_are_refused(text: str) -> None:
    with pytest.raises(Unfit):
        values.topic(text)


@pytest.mark.parametrize("text", ["mt1", "a/b/c", "Zeit nehmung", "é" * 100, "a$b"])
def test_topics_that_work_are_taken_as_they_are(text: str) -> None:
    assert values.topic(text) == text


@pytest.mark.parametrize("text", ["", "a b", "ä", "a/b", "a.b", "x" * 65])
def test_an_instance_name_must_fit_topics_and_unique_ids(text: str) -> None:
    with pytest.raises(Unfit, match="letters, digits, - and _"):
        values.word(text)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "path"),
    [
        ("mqtt://localhost", "mqtt", "localhost", 1883, ""),
        ("mqtt://localhost:1884/", "mqtt", "localhost", 1884, ""),
        ("mqtts://broker.example", "mqtts", "broker.example", 8883, ""),
        ("ws://broker.example", "ws", "broker.example", 80, "/mqtt"),
        ("wss://broker.example/ws/mqtt", "wss", "broker.example", 443, "/ws/mqtt"),
        ("MQTT://Broker", "mqtt", "Broker", 1883, ""),
        ("mqtt://[2001:db8::1]:1883", "mqtt", "2001:db8::1", 1883, ""),
        ("mqtt://[fe80::1%eth0]", "mqtt", "fe80::1%eth0", 1883, ""),
        ("mqtt://192.0.2.7:65535", "mqtt", "192.0.2.7", 65535, ""),
        ("mqtt://my_broker", "mqtt", "my_broker", 1883, ""),
        ("mqtt://bücher.example", "mqtt", "bücher.example", 1883, ""),
    ],
)
def test_addresses_of_a_broker(text: str, scheme: str, host: str, port: int, path: str) -> None:
    found = addresses.broker(text)
    assert (found.scheme, found.host, found.port, found.path) == (scheme, host, port, path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://local host", "without spaces"),
        ("mqtt://2001:db8::1:1883", "in brackets"),
        ("mqtt://::1", "in brackets"),
        ("mqtt://[2001:db8::1", "in brackets"),
        ("mqtt://[nonsense]", "an IPv6 address"),
        ("unix:///run/mosquitto.sock", "a socket in the file system cannot be used"),
        ("/run/mosquitto.sock", "a socket in the file system cannot be used"),
        ("mqtt://", "a host name"),
        ("mqtt://host:", "a port from 1 to 65535"),
        ("mqtt://host:0", "a port from 1 to 65535"),
        ("mqtt://host:65536", "a port from 1 to 65535"),
        ("mqtt://host:-1", "a port from 1 to 65535"),
        ("mqtt://host:abc", "a port from 1 to 65535"),
        ("mqtt://host:017", "a port from 1 to 65535"),
        ("mqtt://256.1.1.1", "a host name"),
        ("mqtt://-host", "a host name"),
        ("mqtt://a..b", "a host name"),
        ("mqtt://host/topic", "ends after host and port"),
        ("mqtt://host?x=1", "without ? and #"),
        ("ws://host/a b", "a path without spaces"),
        ("tcp://host", "begins with mqtt://"),
        ("localhost", "such as mqtt://localhost:1883"),
        ("", "such as mqtt://localhost:1883"),
    ],
)
def test_addresses_of_no_broker_say_what_is_right(text: str, expected: str) -> None:
    with pytest.raises(Unfit) as caught:
        addresses.broker(text)
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("localhost:1883", "mqtt://localhost:1883"),
        ("ssl://host:8883", "mqtts://host:8883"),
        ("https://host/mqtt", "wss://host/mqtt"),
    ],
)
def test_a_broker_written_as_for_another_program_is_guessed(text: str, guess: str) -> None:
    with pytest.raises(Unfit) as caught:
        addresses.broker(text)
    assert caught.value.guess == guess


@pytest.mark.parametrize("read", [addresses.broker, addresses.web])
@pytest.mark.parametrize(
    "text", ["mqtt://u:hunter2@host", "https://u:hunter2@host", "u:hunter2@host", "ftp://u:hunter2@h"]
)
def test_a_password_within_a_url_is_refused_and_not_repeated(read, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Unfit) as caught:
        read(text)
    assert not caught.value.echo
    assert "hunter2" not in caught.value.expected + caught.value.guess


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://www.alge-results.com/", "https://www.alge-results.com"),
        ("https://proxy.example/alge//", "https://proxy.example/alge"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.9.9.9:8080/devices", "http://127.9.9.9:8080/devices"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_addresses_of_the_mt1_server(text: str, url: str) -> None:
    assert addresses.web(text).url == url


@pytest.mark.parametrize(
    "text", ["http://www.alge-results.com", "http://localhost.example", "http://127.0.0.1.example"]
)
def test_plain_http_to_another_machine_is_refused(text: str) -> None:
    with pytest.raises(Unfit, match="everybody on the way") as caught:
        addresses.web(text)
    assert caught.value.guess == text.replace("http:", "https:")


@given(st.text())
@settings(deadline=None)
def test_any_text_is_an_address_or_unfit(text: str) -> None:
    for read in (addresses.broker, addresses.web):
        for candidate in (text, f"mqtt://{text}", f"ws://[{text}]", f"https://{text}"):
            try:
                found = read(candidate)
            except Unfit:
                continue
            assert found.host
            assert 1 <= found.port <= 65535
