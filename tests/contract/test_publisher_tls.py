"""TLS towards the broker: what is accepted, what is refused and in which words, and that nothing leaks before."""

import os
import ssl
from pathlib import Path

import pytest
from certificates import Authority
from mosquitto import Mosquitto, Options, Recorder, Tls
from publisher_rig import Rig, settings
from scripted_broker import Peer, ScriptedBroker

from mt1bridge.model.broker import Acknowledged, Arrived, BrokerTrouble, Publication
from mt1bridge.mqtt.client import Limits

both_versions = pytest.mark.parametrize("protocol", [5, 4])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@both_versions
@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_good_certificate_is_accepted_by_name_and_address(
    tmp_path: Path, authority: Authority, scheme: str, host: str, protocol: int
) -> None:
    options = Options(
        host="::1" if host == "::1" else "127.0.0.1",
        tls=Tls(authority, authority.server()),
        websockets=scheme == "wss",
    )
    what = {"host": host, "scheme": scheme, "path": "/" if scheme == "wss" else "", "ca_file": authority.file}
    with Mosquitto(tmp_path, options) as broker, Rig(settings(broker.port, **what)) as rig:  # type: ignore[arg-type]
        rig.connect("mt1/#", protocol=protocol)
        for index in range(300):
            rig.publish(Publication("mt1/x", b"x" * (index * 20)))
        rig.inbox.wait(Acknowledged, 300)
        assert [len(event.payload) for event in rig.inbox.wait(Arrived, 300)] == list(range(0, 6000, 20))


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("expired", "expired"),
        ("not yet valid", "not valid yet"),
        ("other name", "another name than 127.0.0.1"),
        ("unknown CA", "CA that is unknown"),
    ],
)
def test_a_wrong_certificate_is_told_apart_and_no_byte_of_ours_is_sent(
    tmp_path: Path, authority: Authority, scheme: str, case: str, words: str
) -> None:
    (tmp_path / "other").mkdir()
    signer = Authority(tmp_path / "other") if case == "unknown CA" else authority
    host = "example.org" if case == "other name" else "127.0.0.1"
    shown = signer.server(host, expired=case == "expired", not_yet=case == "not yet valid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)

    with (
        ScriptedBroker(Peer.hold, context=context) as broker,
        Rig(settings(broker.port, scheme=scheme, username="user", password="sesame", ca_file=authority.file)) as rig,
    ):
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert words in lost.text
        assert f"127.0.0.1:{broker.port}" in lost.text
        rig.publisher.join(20)
    assert all(not peer.received and peer.rest == b"" for peer in broker.peers)


def test_the_systems_cas_do_not_know_ours(tmp_path: Path, authority: Authority) -> None:
    with (
        Mosquitto(tmp_path, Options(tls=Tls(authority, authority.server()))) as broker,
        Rig(settings(broker.port, scheme="mqtts")) as rig,
    ):
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert "ca_file" in lost.text


@both_versions
@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_a_client_certificate_opens_the_door(tmp_path: Path, authority: Authority, scheme: str, protocol: int) -> None:
    own = authority.client()
    tls = Tls(authority, authority.server(), demand_client_certificate=True)
    with (
        Mosquitto(tmp_path, Options(tls=tls, websockets=scheme == "wss")) as broker,
        Rig(settings(broker.port, scheme=scheme, ca_file=authority.file, cert_file=own.cert, key_file=own.key)) as rig,
    ):
        assert rig.connect(protocol=protocol).protocol == protocol


@both_versions
@pytest.mark.parametrize("newest", ["tlsv1.2", "tlsv1.3"])
def test_a_missing_client_certificate_is_said(tmp_path: Path, authority: Authority, newest: str, protocol: int) -> None:
    tls = Tls(authority, authority.server(), demand_client_certificate=True)
    extra = ("tls_version tlsv1.2",) if newest == "tlsv1.2" else ()
    with (
        Mosquitto(tmp_path, Options(tls=tls, tls_lines=extra)) as broker,
        Rig(settings(broker.port, scheme="mqtts", ca_file=authority.file)) as rig,
    ):
        for _ in range(10):
            rig.open(protocol=protocol)
            lost = rig.lost()
            assert lost.trouble == BrokerTrouble.TLS, lost
            assert "cert_file" in lost.text


def test_a_client_certificate_of_another_ca_is_said(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    own = Authority(tmp_path / "other").client()
    tls = Tls(authority, authority.server(), demand_client_certificate=True)
    with (
        Mosquitto(tmp_path, Options(tls=tls)) as broker,
        Rig(settings(broker.port, scheme="mqtts", ca_file=authority.file, cert_file=own.cert, key_file=own.key)) as rig,
    ):
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert "cert_file" in lost.text


def test_tls_towards_a_port_without_it_is_said(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Rig(settings(broker.port, scheme="mqtts")) as rig:
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert "speak TLS" in lost.text


def test_an_answer_that_is_no_tls_is_said() -> None:
    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.hold()

    with ScriptedBroker(script) as broker, Rig(settings(broker.port, scheme="mqtts")) as rig:
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert "does not speak TLS on this port" in lost.text


@both_versions
def test_no_tls_towards_a_port_with_it_is_a_loss_or_silence(
    tmp_path: Path, authority: Authority, protocol: int
) -> None:
    with (
        Mosquitto(tmp_path, Options(tls=Tls(authority, authority.server()))) as broker,
        Rig(settings(broker.port), Limits(answer_s=1)) as rig,
    ):
        rig.open(protocol=protocol)
        assert rig.lost().trouble in (BrokerTrouble.LOST, BrokerTrouble.SILENT)


def test_only_old_tls_is_refused(authority: Authority) -> None:
    shown = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(shown.cert, shown.key)
    with (
        ScriptedBroker(Peer.hold, context=context) as broker,
        Rig(settings(broker.port, scheme="mqtts", ca_file=authority.file)) as rig,
    ):
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert "TLS 1.2" in lost.text


def test_a_certificate_file_that_is_missing_is_said_and_heals_when_it_comes(
    tmp_path: Path, authority: Authority
) -> None:
    elsewhere = tmp_path / "moved.pem"
    with (
        Mosquitto(tmp_path, Options(tls=Tls(authority, authority.server()))) as broker,
        Rig(settings(broker.port, scheme="mqtts", ca_file=elsewhere)) as rig,
    ):
        rig.open()
        lost = rig.lost()
        assert lost.trouble == BrokerTrouble.TLS
        assert f"ca_file {elsewhere}: does not exist" in lost.text

        (tmp_path / "other").mkdir()
        elsewhere.write_bytes(Authority(tmp_path / "other").file.read_bytes())
        rig.open()
        assert "CA that is unknown" in rig.lost().text

        elsewhere.write_bytes(authority.file.read_bytes() + b"\n")  # a renewed file is read without a restart
        os.utime(elsewhere, ns=(1, 1))
        rig.connect()


@both_versions
def test_a_broker_that_is_killed_or_frozen_behind_tls(tmp_path: Path, authority: Authority, protocol: int) -> None:
    tls = Tls(authority, authority.server())
    with (
        Mosquitto(tmp_path, Options(tls=tls)) as broker,
        Rig(settings(broker.port, scheme="mqtts", ca_file=authority.file), Limits(keepalive_s=1)) as rig,
    ):
        rig.connect(protocol=protocol)
        broker.freeze()
        for _ in range(20):
            rig.publish(Publication("mt1/x", b"x" * 1_000_000))
        assert rig.lost().trouble == BrokerTrouble.SILENT
        broker.thaw()
        rig.connect(protocol=protocol)
        broker.kill()
        assert rig.lost().trouble == BrokerTrouble.LOST


def test_large_messages_both_ways_at_once_over_tls(tmp_path: Path, authority: Authority) -> None:
    tls = Tls(authority, authority.server())
    with (
        Mosquitto(tmp_path, Options(tls=tls)) as broker,
        Recorder(broker.plain_port) as recorder,
        Rig(settings(broker.port, scheme="mqtts", ca_file=authority.file)) as rig,
    ):
        rig.connect("mt1/#")
        for index in range(60):
            rig.publish(Publication("mt1/x", bytes([index]) * 500_000))
        arrived = rig.inbox.wait(Arrived, 60)
        assert [event.payload for event in arrived] == [bytes([index]) * 500_000 for index in range(60)]
        rig.inbox.wait(Acknowledged, 60)
        assert recorder.wait_for(60)
