"""TLS of REST calls: each fault has its own words, and no credentials are sent before all is well."""

import ssl

import pytest
from rest_server import LOGIN, QUICK, Authority, Server, Worker, answer, read_request, say

from mt1bridge.cloud.rest import Deadlines
from mt1bridge.model.upstream import Answer, Trouble

pytestmark = pytest.mark.skipif(not Authority.available(), reason="needs the openssl command to make certificates")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def secure(server: Server) -> str:
    return server.url.replace("http:", "https:")


def refusal(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext | None) -> str:
    """Log in, and return why that was refused; the server must not have seen a byte of it."""
    with Server(say(answer(b"[]")), server_tls) as server, Worker(server.url, tls=client_tls) as worker:
        event = worker.trouble(LOGIN)
        assert event.trouble is Trouble.TLS
        assert server.requests == []
    assert event.text.startswith("localhost:")
    return event.text


def test_a_trusted_certificate_is_accepted_and_the_connection_kept(authority):
    def script(conn, _):
        conn.sendall(answer(b"[]"))
        return True

    with Server(script, authority.server()) as server, Worker(server.url, tls=authority.client()) as worker:
        assert worker.answer(LOGIN) == Answer(1, 200, b"[]")
        assert worker.answer(LOGIN) == Answer(1, 200, b"[]")
        assert server.connections == 1


def test_an_expired_certificate_names_the_clock(authority):
    text = refusal(authority.server(expired=True), authority.client())
    assert "expired" in text
    assert "clock" in text


def test_a_certificate_for_another_host_is_refused(authority):
    assert "another host" in refusal(authority.server("elsewhere.example"), authority.client())


def test_a_certificate_of_an_unknown_authority_is_refused(authority):
    assert "not trusted" in refusal(authority.server(), ssl.create_default_context())


def test_without_a_context_the_systems_certificates_count(authority):
    assert "not trusted" in refusal(authority.server(), None)


def test_a_self_signed_certificate_is_refused(authority):
    assert "self-signed" in refusal(authority.server(self_signed=True), authority.client())


def test_an_old_protocol_is_refused(authority):
    client = authority.client()
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    server = authority.server()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "no TLS connection" in refusal(server, client)


def test_a_server_without_tls_is_named(authority):
    with (
        Server(lambda conn, _: conn.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"), raw=True) as server,
        Worker(secure(server), tls=authority.client()) as worker,
    ):
        assert worker.trouble(LOGIN).trouble is Trouble.TLS


def test_the_environment_can_neither_add_nor_replace_certificates(authority, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, authority.file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert "not trusted" in refusal(authority.server(), context)
    assert context.get_ca_certs() == []


def test_a_chosen_authority_stays_the_only_one(authority):
    context = authority.client()
    with Server(say(answer(b"[]")), authority.server()) as server, Worker(server.url, tls=context) as worker:
        worker.answer(LOGIN)
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_handshake_that_hangs_is_a_time_out(authority):
    with (
        Server(lambda _conn, _: server.over.wait() and False, raw=True) as server,
        Worker(secure(server), QUICK, authority.client()) as worker,
    ):
        assert worker.trouble(LOGIN).trouble is Trouble.TIMEOUT


def test_a_server_that_hangs_up_in_the_handshake_closed(authority):
    with (
        Server(lambda conn, _: bool(conn.recv(1)) and False, raw=True) as server,
        Worker(secure(server), tls=authority.client()) as worker,
    ):
        assert worker.trouble(LOGIN).trouble is Trouble.CLOSED


def test_a_body_cut_short_within_tls_is_no_answer(authority):
    with (
        Server(say(answer(b"[", length=99)), authority.server()) as server,
        Worker(server.url, tls=authority.client()) as worker,
    ):
        assert worker.trouble(LOGIN).trouble is Trouble.CLOSED


def test_a_slow_body_within_tls_ends_at_the_deadline(authority):
    def slow(conn, _):
        conn.sendall(answer(b"[", length=9999))
        while not server.over.wait(0.05):
            conn.sendall(b" ")

    with Server(slow, authority.server()) as server, Worker(server.url, QUICK, authority.client()) as worker:
        assert worker.trouble(LOGIN).trouble is Trouble.TIMEOUT


def test_close_ends_a_call_within_tls(authority):
    def hang(conn, _):
        conn.sendall(answer(b"[", length=9999))
        worker.rest.close()
        server.over.wait()

    with (
        Server(hang, authority.server()) as server,
        Worker(server.url, Deadlines(total_s=3600.0), authority.client()) as worker,
    ):
        assert worker.trouble(LOGIN).trouble is Trouble.STOPPED
        assert worker.rest.join(20)


def test_verification_holds_through_a_proxy(authority, monkeypatch):
    def tunnel(conn, _):
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(conn, server_side=True) as inner:
            inner.sendall(answer(b"[]") if read_request(inner) else b"")

    for name, good in (("localhost", True), ("elsewhere.example", False)):
        context = authority.server(name)
        with Server(tunnel) as proxy, Worker("https://localhost", tls=authority.client()) as worker:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            event = worker.ask(LOGIN)
        assert isinstance(event, Answer) is good
        assert good or getattr(event, "trouble", None) is Trouble.TLS
