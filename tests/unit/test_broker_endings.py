"""Which trouble and which words belong to what socket, TLS and broker said."""

import socket
import ssl

import pytest

from mt1bridge.model.broker import BrokerTrouble
from mt1bridge.mqtt import reasons
from mt1bridge.mqtt.closures import Closures
from mt1bridge.mqtt.ending import Ending, Failure, UpgradeRefusedError, after_dialling, after_failure, no_answer
from mt1bridge.runtime.tls import explain

PLACE = "broker:1883"


def certificate_error(code: int, message: str = "") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] words")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "trouble", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), BrokerTrouble.UNREACHABLE, "cannot be resolved"),
        (ConnectionRefusedError(111, "Connection refused"), BrokerTrouble.UNREACHABLE, "Connection refused"),
        (OSError(113, "No route to host"), BrokerTrouble.UNREACHABLE, "No route to host"),
        (TimeoutError(), BrokerTrouble.UNREACHABLE, "does not answer"),
        (UpgradeRefusedError("/mqtt"), BrokerTrouble.UNREACHABLE, "/mqtt"),
        (UnicodeError("label too long"), BrokerTrouble.UNREACHABLE, "no host name"),
        (ValueError("odd"), BrokerTrouble.UNREACHABLE, "ValueError: odd"),
        (ssl.SSLEOFError(8, "EOF"), BrokerTrouble.TLS, "does this port speak TLS"),
        (certificate_error(10), BrokerTrouble.TLS, "expired"),
    ],
)
def test_what_keeps_a_connection_from_coming_to_be(error: Exception, trouble: BrokerTrouble, words: str) -> None:
    ending = after_dialling(error, Failure(), PLACE)
    assert ending.trouble == trouble
    assert words in ending.text
    assert PLACE in ending.text


def test_a_broker_that_accepts_but_does_not_answer_is_silent() -> None:
    assert no_answer(Failure(reached=True), PLACE).trouble == BrokerTrouble.SILENT
    assert after_dialling(TimeoutError(), Failure(reached=True), PLACE).trouble == BrokerTrouble.SILENT


@pytest.mark.parametrize(
    ("failure", "connected_now", "trouble"),
    [
        (Failure(), None, BrokerTrouble.LOST),
        (Failure(), 1.0, BrokerTrouble.LOST),
        (Failure(error=ConnectionResetError(104, "reset")), 1.0, BrokerTrouble.LOST),
        (Failure(malformed=True), None, BrokerTrouble.LOST),
        (Failure(malformed=True), 1.0, BrokerTrouble.LOST),
        (Failure(silent=True), 1.0, BrokerTrouble.SILENT),
        (Failure(error=tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED")), None, BrokerTrouble.TLS),
        (Failure(error=ssl.SSLEOFError(8, "EOF")), 1.0, BrokerTrouble.LOST),  # many just drop TLS when they close
    ],
)
def test_what_ends_a_connection(failure: Failure, connected_now: float | None, trouble: BrokerTrouble) -> None:
    ending = after_failure(failure, PLACE, Closures(), 5, connected_now, idle=True)
    assert ending.trouble == trouble
    assert PLACE in ending.text


def test_only_quiet_closes_of_an_idle_connection_count_as_take_overs() -> None:
    def last_of_three(failure: Failure, idle: bool) -> Ending:
        closures = Closures()
        return [after_failure(failure, PLACE, closures, 4, float(now), idle) for now in range(3)][-1]

    assert last_of_three(Failure(), idle=True).trouble == BrokerTrouble.TAKEN_OVER
    assert last_of_three(Failure(), idle=False).trouble == BrokerTrouble.LOST
    assert last_of_three(Failure(error=ConnectionResetError()), idle=True).trouble == BrokerTrouble.LOST


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "not valid yet"),
        (10, "has expired"),
        (18, "CA that is unknown"),
        (19, "CA that is unknown"),
        (20, "CA that is unknown"),
        (23, "revoked"),
        (24, "no CA's"),
        (62, "another name"),
        (64, "another name"),
        (92, "keyUsage"),
        (999, "not accepted: odd"),
    ],
)
def test_each_fault_of_a_certificate_has_its_words(code: int, words: str) -> None:
    text = explain(certificate_error(code, "odd"), "example.org")
    assert words in text
    assert "example.org" in text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "demands a client certificate"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "may demand a client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know the CA"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has expired"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "TLS 1.2"),
        ("UNSUPPORTED_PROTOCOL", "TLS 1.2"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("SOMETHING_ELSE", "SOMETHING_ELSE"),
    ],
)
def test_each_alert_has_its_words(reason: str, words: str) -> None:
    text = explain(tls_error(reason), "example.org")
    assert words in text
    assert "example.org" in text


def test_every_reason_code_has_words_with_its_number() -> None:
    for code in range(256):
        assert (str(code) if code < 0x80 else f"0x{code:02X}") in reasons.words(code)


def test_the_brokers_own_words_are_made_harmless() -> None:
    assert reasons.printable("a\nb\x1b[31m\u202ec") == "a?b?[31m?c"
    assert len(reasons.printable("x" * 100_000)) == 200
