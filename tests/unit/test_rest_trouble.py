"""Errors of the libraries -> trouble and words for people."""

import errno
import http.client
import socket
import ssl

import pytest
import urllib3

from mt1bridge.cloud.rest_trouble import BadAnswer, CutShort, explain
from mt1bridge.model.upstream import Trouble


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    error.verify_message = "in OpenSSL's words"
    return error


@pytest.mark.parametrize(
    ("error", "trouble", "word"),
    [
        (socket.gaierror(-2, "x"), Trouble.DNS, "name"),
        (ConnectionRefusedError(111, "x"), Trouble.REFUSED, "refused"),
        (ConnectionResetError(104, "x"), Trouble.CLOSED, "closed"),
        (BrokenPipeError(32, "x"), Trouble.CLOSED, "closed"),
        (http.client.RemoteDisconnected("x"), Trouble.CLOSED, "closed"),
        (http.client.IncompleteRead(b"secret"), Trouble.CLOSED, "closed"),
        (CutShort(), Trouble.CLOSED, "closed"),
        (ssl.SSLEOFError(8, "x"), Trouble.CLOSED, "closed"),
        (TimeoutError(), Trouble.TIMEOUT, "in time"),
        (certificate_error(9), Trouble.TLS, "clock"),
        (certificate_error(10), Trouble.TLS, "expired"),
        (certificate_error(99), Trouble.TLS, "in OpenSSL's words"),
        (ssl.SSLError(1, "x"), Trouble.TLS, "TLS"),
        (http.client.LineTooLong("secret"), Trouble.PROTOCOL, "no HTTP"),
        (BadAnswer("an odd thing"), Trouble.PROTOCOL, "an odd thing"),
        (OSError(errno.ENETUNREACH, "x"), Trouble.NETWORK, "unreachable"),
        (OSError(errno.EMFILE, "x"), Trouble.NETWORK, "open files"),
        (RuntimeError("secret"), Trouble.NETWORK, "RuntimeError"),
        (UnicodeEncodeError("latin-1", "secret", 0, 1, "secret"), Trouble.NETWORK, "failed"),
    ],
)
def test_each_fault_has_its_trouble_and_words_however_deep_it_lies(error, trouble, word):
    pool = urllib3.HTTPConnectionPool("localhost")
    wrapped = urllib3.exceptions.MaxRetryError(pool, "/secret", urllib3.exceptions.ProtocolError("secret", error))
    outer = OSError("secret")
    outer.__cause__ = wrapped
    for whole in (error, outer):
        if isinstance(error, RuntimeError | UnicodeError | http.client.LineTooLong) and whole is outer:
            continue  # nothing is known of these but that HTTP failed
        found, text = explain(whole, "host")
        assert (found, text.startswith("host: "), word in text) == (trouble, True, True), text
        assert "secret" not in text


def test_a_chain_that_bites_its_tail_ends():
    one, two = ValueError("a"), KeyError("b")
    one.__cause__, two.__cause__ = two, one
    assert explain(one, "host")[0] is Trouble.NETWORK
