"""The way to the server: name, TCP, proxy, TLS and upgrade, each failure told for what it is."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority
from sockjs_server import PATIENCE, QUICK, Bench, Peer, RawServer, array_of, message

from mt1bridge.cloud.limits import LinkLimits
from mt1bridge.model.upstream import LinkMessage, LinkSubscribed, Trouble

HASTY = LinkLimits(connect=0.4, opened=0.4, connected=0.4, stagger=0.1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def server_tls(authority: Authority, *hosts: str, **state: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.server(*hosts, **state)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def client_tls(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def serve(peer: Peer) -> None:
    peer.serve(1)
    peer.strings(message("7", "good"))
    peer.hold()


@contextlib.contextmanager
def black_hole(family: socket.AddressFamily = socket.AF_INET) -> Iterator[tuple[str, int]]:
    """An address that takes no connection and refuses none: its queue is full."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield host, listener.getsockname()[1]


def resolve_to(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], list[tuple[str, int]]]) -> None:
    """Make the system's resolver answer any name with these addresses."""

    def getaddrinfo(_host: str, _port: int, *, type: int = 0, flags: int = 0) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, type, 0, "", (host, port)) for host, port in answer()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


# --- name ----------------------------------------------------------------------------------------------------


def test_a_name_that_is_none_is_told() -> None:
    with Bench(f"http://{'a' * 70}.example/devices") as bench:
        lost = bench.lost("7")
    assert lost.trouble is Trouble.DNS
    assert "aaaa" in lost.text


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> list[tuple[str, int]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve_to(monkeypatch, unknown)
    with Bench("http://mt1.example/devices") as bench:
        lost = bench.lost("7")
    assert lost.trouble is Trouble.DNS
    assert "mt1.example" in lost.text


def test_a_resolver_that_hangs_ends_at_the_deadline_and_at_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    asked = threading.Semaphore(0)

    def hang() -> list[tuple[str, int]]:
        asked.release()
        release.wait(PATIENCE)
        return []

    resolve_to(monkeypatch, hang)
    with Bench("http://mt1.example/devices", limits=HASTY) as bench:
        assert bench.lost("7").trouble is Trouble.TIMEOUT
    with Bench("http://mt1.example/devices") as bench:
        link = bench.open("7")
        assert asked.acquire(timeout=PATIENCE)
        assert asked.acquire(timeout=PATIENCE)
        bench.close(link)
        assert bench.end().trouble is Trouble.STOPPED
    release.set()
    for thread in threading.enumerate():
        if thread.name == "resolver":
            thread.join(PATIENCE)


def test_a_name_is_resolved() -> None:
    with RawServer(serve) as server, Bench(server.url.replace("127.0.0.1", "localhost")) as bench:
        bench.open("7")
        bench.wait(LinkMessage)


# --- TCP -----------------------------------------------------------------------------------------------------


def test_a_port_that_refuses_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Bench(f"http://127.0.0.1:{port}/devices") as bench:
        assert bench.lost("7").trouble is Trouble.REFUSED


def test_an_address_that_does_not_answer_ends_at_the_deadline_and_at_a_close() -> None:
    with black_hole() as (host, port):
        with Bench(f"http://{host}:{port}/devices", limits=HASTY) as bench:
            lost = bench.lost("7")
            assert lost.trouble is Trouble.TIMEOUT
            assert "0.4 s" in lost.text
        with Bench(f"http://{host}:{port}/devices") as bench:
            bench.close(bench.open("7"))
            assert bench.end().trouble is Trouble.STOPPED


def test_an_ipv6_address_will_do() -> None:
    try:
        server = RawServer(serve, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server, Bench(server.url) as bench:
        bench.open("7")
        bench.wait(LinkMessage)


def test_a_dead_address_does_not_keep_from_a_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as dead, RawServer(serve) as server, socket.create_server(("127.0.0.1", 0)) as refusing:
        refused = refusing.getsockname()
        refusing.close()
        resolve_to(monkeypatch, lambda: [dead, refused, dead, ("127.0.0.1", server.port)])
        with Bench("http://mt1.example/devices", limits=LinkLimits(stagger=0.05)) as bench:
            bench.open("7")
            bench.wait(LinkMessage)


def test_no_file_descriptor_is_a_loss_and_no_crash() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with RawServer(serve) as server, Bench(server.url) as bench, socket.socket() as probe:
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + 1, hard))
        try:
            lost = bench.lost("7")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert lost.trouble is Trouble.NETWORK
    # The limit held for the server's thread too, which may not have borne it: a fresh one.
    with RawServer(serve) as server, Bench(server.url) as bench:
        bench.open("7")
        bench.wait(LinkMessage)


# --- upgrade ---------------------------------------------------------------------------------------------------

STATUSES = [200, 204, 302, 307, 400, 401, 403, 404, 426, 429, 500, 502, 503, 504]


@pytest.mark.parametrize("status", STATUSES)
def test_an_upgrade_answered_with_a_status_tells_it(status: int) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        body = b"<html>TOPSECRET</html>" * 10_000
        where = f"ws://127.0.0.1:{server.port}/elsewhere"
        head = f"HTTP/1.1 {status} Some Words\r\nLocation: {where}\r\nContent-Length: {len(body)}\r\n\r\n"
        peer.write(head.encode() + body)

    with RawServer(script) as server, Bench(server.url) as bench:
        lost = bench.lost("7")
    assert (lost.trouble, lost.http_status) == (Trouble.UPGRADE, status)
    assert f"HTTP {status} Some Words" in lost.text
    assert "TOPSECRET" not in lost.text
    assert len(server.peers) == 1, "it followed a redirect"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Fine\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        b"hello\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nno colon\r\n\r\n",
        b"HTTP/1.1 101 Fine\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 abc\r\n\r\n",
    ],
)
def test_an_improper_answer_to_the_upgrade_is_told(answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.write(answer)
        peer.hold()

    with RawServer(script) as server, Bench(server.url) as bench:
        assert bench.lost("7").trouble is Trouble.PROTOCOL


def test_a_server_that_goes_before_it_answers_the_upgrade_is_told() -> None:
    with RawServer(lambda peer: peer.read_head()) as server, Bench(server.url) as bench:
        assert bench.lost("7").trouble is Trouble.CLOSED


@pytest.mark.parametrize("phase", ["upgrade", "half an upgrade", "o", "CONNECTED"])
def test_a_server_that_falls_silent_on_the_way_is_told(phase: str) -> None:
    def script(peer: Peer) -> None:
        if phase == "upgrade":
            peer.read_head()
        elif phase == "half an upgrade":
            peer.read_head()
            peer.write(b"HTTP/1.1 101 Switching")
        else:
            peer.upgrade()
            if phase == "CONNECTED":
                peer.text("o")
        peer.hold()

    with RawServer(script) as server, Bench(server.url, limits=HASTY) as bench:
        lost = bench.lost("7")
    assert lost.trouble is Trouble.TIMEOUT
    assert ("connection" if "upgrade" in phase else phase) in lost.text


def test_signs_of_life_do_not_stretch_a_deadline() -> None:
    def script(peer: Peer) -> None:
        peer.upgrade()
        peer.text("o")
        peer.sock.settimeout(0.05)
        while True:
            peer.text("h")
            peer.hold()

    with RawServer(script) as server, Bench(server.url, limits=HASTY) as bench:
        assert bench.lost("7").trouble is Trouble.TIMEOUT


# --- TLS -----------------------------------------------------------------------------------------------------


def test_messages_come_over_tls_and_everything_goes_on_in_one_thread(authority: Authority) -> None:
    bodies = ["x" * size for size in (1, 20_000, 70_000, 300_000)] * 5

    def script(peer: Peer) -> None:
        peer.serve(1, connected="CONNECTED\nversion:1.2\nheart-beat:50,50\n\n\0")
        for body in bodies:
            peer.text(array_of(message("7", body), message("7", "small")))
        peer.hold()

    limits = LinkLimits(heart_beat_ms=(50, 50))
    with (
        RawServer(script, server_tls(authority)) as server,
        Bench(server.url, client_tls(authority), limits) as bench,
    ):
        bench.open("7")
        for body in bodies:
            assert bench.wait(LinkMessage).body == body.encode()
            assert bench.wait(LinkMessage).body == b"small"


@pytest.mark.parametrize(
    ("hosts", "state", "words"),
    [
        ((), {"expired": True}, ("expired", "clock")),
        ((), {"not_yet": True}, ("not valid yet", "clock")),
        (("elsewhere.example",), {}, ("another",)),
    ],
)
def test_a_certificate_that_does_not_fit_is_told(
    authority: Authority, hosts: tuple[str, ...], state: dict[str, bool], words: tuple[str, ...]
) -> None:
    asked: list[str] = []
    with (
        RawServer(lambda peer: asked.append(peer.read_head()), server_tls(authority, *hosts, **state)) as server,
        Bench(server.url, client_tls(authority)) as bench,
    ):
        lost = bench.lost("7")
    assert lost.trouble is Trouble.TLS
    assert all(word in lost.text for word in words), lost.text
    assert not asked


def test_an_unknown_authority_is_told(authority: Authority, tmp_path: Path) -> None:
    with (
        RawServer(serve, server_tls(authority)) as server,
        Bench(server.url, client_tls(Authority(tmp_path, "other"))) as bench,
    ):
        lost = bench.lost("7")
    assert lost.trouble is Trouble.TLS
    assert "authority" in lost.text


def test_no_common_version_of_tls_is_told(authority: Authority) -> None:
    theirs, ours = server_tls(authority), client_tls(authority)
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    ours.minimum_version = ssl.TLSVersion.TLSv1_3
    with RawServer(serve, theirs) as server, Bench(server.url, ours) as bench:
        lost = bench.lost("7")
    assert lost.trouble is Trouble.TLS
    assert "version" in lost.text


def test_a_port_without_tls_is_told(authority: Authority) -> None:
    def script(peer: Peer) -> None:
        peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.hold()

    with (
        RawServer(script) as server,
        Bench(server.url.replace("http:", "https:"), client_tls(authority)) as bench,
    ):
        assert bench.lost("7").trouble is Trouble.TLS


def test_a_handshake_that_stops_is_told(authority: Authority) -> None:
    with RawServer(lambda peer: peer.hold()) as server:
        url = server.url.replace("http:", "https:")
        with Bench(url, client_tls(authority), HASTY) as bench:
            assert bench.lost("7").trouble is Trouble.TIMEOUT
        with Bench(url, client_tls(authority)) as bench:
            bench.close(bench.open("7"))
            assert bench.end().trouble is Trouble.STOPPED
    with (
        RawServer(lambda peer: peer.sock.recv(1)) as server,
        Bench(server.url.replace("http:", "https:"), client_tls(authority)) as bench,
    ):
        assert bench.lost("7").trouble is Trouble.CLOSED


def test_https_without_a_context_is_refused() -> None:
    with pytest.raises(ValueError, match="TLS"):
        Bench("https://127.0.0.1/devices")


# --- proxy ---------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.write(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
        serve(peer)

    with RawServer(script) as proxy, Bench("http://mt1.invalid:8080/devices") as bench:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        bench.open("7")
        bench.wait(LinkMessage)
    assert heads[0].startswith("CONNECT mt1.invalid:8080 HTTP/1.1\r\n")
    assert "\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in heads[0]
    assert "\r\nHost: mt1.invalid:8080\r\n" in proxy.peers[0].request


def test_tls_goes_through_a_proxy_to_the_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    context = server_tls(authority, "mt1.invalid")

    def script(peer: Peer) -> None:
        assert peer.read_head().startswith("CONNECT mt1.invalid:443 ")
        peer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        serve(peer)

    with RawServer(script) as proxy, Bench("https://mt1.invalid/devices", client_tls(authority)) as bench:
        monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{proxy.port}")
        bench.open("7")
        bench.wait(LinkMessage)


def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with RawServer(serve) as server, Bench(server.url) as bench:
        bench.open("7")
        bench.wait(LinkSubscribed)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407),
        (b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!", 403),
        (b"SSH-2.0\r\n\r\n", None),
        (b"HTTP/1.1 200" + b"x" * 100_000, None),
        (b"", None),
    ],
)
def test_a_proxy_that_does_not_let_us_through_is_told(
    answer: bytes, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.write(answer)

    with RawServer(script) as proxy, Bench("http://mt1.invalid/devices") as bench:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:TOPSECRET@127.0.0.1:{proxy.port}")
        lost = bench.lost("7")
    assert (lost.trouble, lost.http_status) == (Trouble.PROXY, status)
    assert f"127.0.0.1:{proxy.port}" in lost.text
    assert "TOPSECRET" not in lost.text


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "http://127.0.0.1:x", "http://"])
def test_a_proxy_that_cannot_be_used_is_told(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with Bench("http://mt1.invalid/devices", limits=QUICK) as bench:
        assert bench.lost("7").trouble is Trouble.PROXY


def test_a_silent_proxy_is_told_as_such_and_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda peer: peer.hold()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        with Bench("http://mt1.invalid/devices", limits=HASTY) as bench:
            assert bench.lost("7").trouble is Trouble.PROXY
        with Bench("http://mt1.invalid/devices") as bench:
            bench.close(bench.open("7"))
            assert bench.end().trouble is Trouble.STOPPED
