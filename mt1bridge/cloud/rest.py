"""REST calls to the MT1 server, one after the other, in a thread of their own. The one door to requests.

The worker judges nothing: every call ends in one `Answer` or one `NoAnswer` in the inbox, in the order of the
calls. It trusts nothing either: verification is always on, redirects are not followed, neither a netrc nor the
URL can add credentials, and no server can hold it longer than the deadline or fill the memory.
"""

import logging
import queue
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mt1bridge import __version__
from mt1bridge.cloud.rest_trouble import BadAnswer, CutShort, explain
from mt1bridge.cloud.rest_watch import Watch, pool_classes
from mt1bridge.model.secret import Secret
from mt1bridge.model.upstream import Answer, Call, NoAnswer, RestEvent, Trouble
from mt1bridge.runtime.clock import Clock, SystemClock
from mt1bridge.runtime.modules import import_without

# They guess the encoding of texts, in 2.7 MB each; we read bytes. requests before 2.32 insists on one of them.
import_without("requests", ("chardet", "charset_normalizer"), ("chardet",))
import requests  # noqa: E402 - what it would bring along had to be left out first
import requests.adapters  # noqa: E402
import requests.utils  # noqa: E402

CHUNK = 16 * 1024
MAX_HEADER_CHARS = 200  # of those handed on; a date has 29


@dataclass(frozen=True, slots=True)
class Deadlines:
    """connect_s: TCP and TLS, each. total_s: a whole call, however slowly the server sends.

    idle_s: a connection unused for longer is not used again, since a router on the way may have forgotten it.
    max_body: bytes of an answer, decompressed.
    """

    connect_s: float = 10.0
    total_s: float = 30.0
    idle_s: float = 20.0
    max_body: int = 8 * 1024 * 1024


class RestWorker:
    """Makes REST calls in one daemon thread; `inbox` is called there, and at once for calls after `close`.

    url: the REST root, below which the paths of the calls are. tls: for https; None: the system's certificates.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None,
        inbox: Callable[[RestEvent], None],
        *,
        deadlines: Deadlines | None = None,
        clock: Clock | None = None,
    ) -> None:
        # urllib3 shows headers that it cannot parse, and the token may be among them; all faults come as NoAnswer.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        self._url = url.rstrip("/")
        self._host = urlsplit(url).netloc.rpartition("@")[2]
        self._inbox = inbox
        self._deadlines = deadlines or Deadlines()
        self._watch = Watch(clock or SystemClock())
        self._session = _session(self._url, tls, self._watch)
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mt1-rest", daemon=True)
        self._thread.start()

    def submit(self, call: Call) -> None:
        """Queue a call and return at once."""
        if self._watch.stopped or not self._thread.is_alive():
            self._inbox(self._stopped(call))
        else:
            self._calls.put(call)

    def close(self) -> None:
        """End the call that is under way and those that wait, each with `Trouble.STOPPED`. Does not wait."""
        self._watch.stop()
        self._calls.put(None)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread after `close`; tell whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        used_at = self._watch.now()
        while (call := self._calls.get()) is not None:
            if self._watch.now() - used_at > self._deadlines.idle_s:
                self._session.close()  # drops the connections; cookies and the session itself stay
            self._inbox(self._answer(call))
            used_at = self._watch.now()
        self._session.close()

    def _answer(self, call: Call) -> RestEvent:
        if self._watch.stopped:
            return self._stopped(call)
        self._watch.start(self._deadlines.total_s)
        try:
            return self._call(call)
        except Exception as error:  # noqa: BLE001 - any fault of the libraries: a dead thread would answer no call more
            if self._watch.stopped:
                return self._stopped(call)
            trouble, text = explain(error, self._host)
            # The error itself is dropped: a library's own text may show a header, and so the token.
            return NoAnswer(call.call, trouble, text)
        finally:
            self._watch.finish()

    def _call(self, call: Call) -> Answer:
        request = requests.Request(
            call.method.value,
            self._url + call.path,
            params=dict(call.query),
            headers={} if call.token is None else {"authorization": call.token.reveal()},
            json=None if call.login is None else {"username": call.login[0], "password": call.login[1].reveal()},
        )
        prepared = self._session.prepare_request(request)
        # `send`, not `request`: that one would take other certificates from the environment, too.
        proxies = requests.utils.get_environ_proxies(self._url, no_proxy=None)
        timeouts = (self._deadlines.connect_s, self._deadlines.total_s)
        response = self._session.send(
            prepared, stream=True, verify=True, proxies=proxies, timeout=timeouts, allow_redirects=False
        )
        try:
            # Nothing is ever read from the body of another status (MT1-API, section 3).
            body = _read_body(response, self._deadlines.max_body) if 200 <= response.status_code < 300 else b""
            return _as_answer(call.call, response, body)
        finally:
            response.close()

    def _stopped(self, call: Call) -> NoAnswer:
        return NoAnswer(call.call, Trouble.STOPPED, f"{self._host}: the call was given up because we stop")


def _as_answer(number: int, response: requests.Response, body: bytes) -> Answer:
    tokens = response.raw.headers.getlist("authorization")
    if len(set(tokens)) == 1:
        tokens = tokens[:1]  # said twice is said once; two different ones are for the reader to refuse
    return Answer(
        call=number,
        http_status=response.status_code,
        body=body,
        token=Secret(", ".join(tokens)) if tokens else None,
        retry_after=_header(response, "retry-after"),
        date=_header(response, "date"),
    )


def _header(response: requests.Response, name: str) -> str | None:
    value = response.headers.get(name)
    return None if value is None else value[:MAX_HEADER_CHARS]


def _read_body(response: requests.Response, limit: int) -> bytes:
    """Return the whole body, decompressed here, since the libraries would inflate a bomb before it can be measured.

    Raises BadAnswer, CutShort, and what the libraries raise.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise BadAnswer("a compression that was not asked for")
    inflate = zlib.decompressobj(wbits=31) if "gzip" in coding else None
    body = bytearray()
    received = 0
    while chunk := response.raw.read(CHUNK, decode_content=False):
        received += len(chunk)
        body += chunk if inflate is None else inflate.decompress(chunk, limit + 1 - len(body))
        if max(received, len(body)) > limit:
            raise BadAnswer(f"an answer of more than {limit} bytes")
    announced = response.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and len(announced) < 19 and received < int(announced):
        raise CutShort
    if inflate is not None and received and not inflate.eof:
        raise CutShort
    return bytes(body)


class _Adapter(requests.adapters.HTTPAdapter):
    """Uses one TLS context as it is given, and the watched connections."""

    def __init__(self, tls: ssl.SSLContext | None, watch: Watch) -> None:
        self._tls = tls
        self._pools = pool_classes(watch)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002 - the base's signature
        """Leave the context alone: the base would load certifi's certificates into it, beside the chosen ones."""
        if not verify:
            raise ValueError("verification is never turned off")
        conn.cert_reqs = "CERT_REQUIRED"


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nothing is a redirect: the base would read its whole body, without a limit, to offer the next request."""


def _session(url: str, tls: ssl.SSLContext | None, watch: Watch) -> requests.Session:
    if url.startswith("https:") and tls is None:
        tls = ssl.create_default_context()
    session = _Session()
    session.auth = _no_credentials
    session.headers.update(
        {"User-Agent": f"mt1bridge/{__version__}", "Accept": "application/json", "Accept-Encoding": "gzip"}
    )
    session.mount("https://", _Adapter(tls, watch))
    session.mount("http://", _Adapter(None, watch))
    return session


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Take the place in which requests would otherwise use a netrc or the URL, over our own header."""
    return request
