"""A plain client for the tests of the simulator: requests, websocket-client and frames written by hand."""

import json
import secrets
import socket
import time
from contextlib import contextmanager

import requests
import websocket

DEVICE, OTHER = "231203016", "231203037"
TOPIC = f"/topic/device/{DEVICE}/trigger"


class Rest:
    """REST calls, with the token of the last login."""

    def __init__(self, url):
        self.url, self.token, self.user = url, None, None
        self.http = requests.Session()
        self.http.trust_env = False

    def login(self, username="club", password="mt1demo"):
        answer = self.http.post(
            f"{self.url}/mt1/api/user/login", json={"username": username, "password": password}, timeout=5
        )
        if answer.status_code == 200 and answer.json()["status"] == 0:
            self.token = answer.headers.get("authorization")
            self.user = answer.json()["data"][0]["id"]
        return answer

    def get(self, path, token=None, timeout=5, **query):
        headers = {"authorization": token or self.token} if token or self.token else {}
        return self.http.get(f"{self.url}{path}", headers=headers, params=query, timeout=timeout)

    def current(self, **named):
        return self.get("/mt1/api/user/current", **named)

    def devices(self, **named):
        return self.get(f"/mt1/api/user/{self.user}/devices", **named)

    def count_answer(self, device=DEVICE, channel=0, **named):
        return self.get(f"/mt1/api/devices/{device}/channel/{channel}/trigger/count", **named)

    def count(self, device=DEVICE, channel=0, **named):
        return self.count_answer(device, channel, **named).json()["data"][0]["value"]

    def history_answer(self, device=DEVICE, channel=0, **named):
        return self.get(f"/mt1/api/devices/{device}/channel/{channel}/trigger", **named)

    def history(self, device=DEVICE, channel=0, **named):
        return self.history_answer(device, channel, **named).json()["data"]

    def control(self, verb, **arguments):
        return self.http.post(f"{self.url}/control/{verb}", json=arguments, timeout=5)


@contextmanager
def rest_of(sim, login=True):
    rest = Rest(sim.url)
    if login:
        rest.login()
    try:
        yield rest
    finally:
        rest.http.close()


class Push:
    """One SockJS connection."""

    def __init__(self, sim, path=None, timeout=5, **options):
        base = sim.realtime_url.replace("http", "ws", 1)
        self.ws = websocket.create_connection(
            base + (path or f"/{secrets.randbelow(1000):03d}/{secrets.token_hex(6)}/websocket"),
            timeout=timeout,
            **options,
        )
        self._frames = []

    def text(self, timeout=5):
        """The next text message as it is."""
        self.ws.settimeout(timeout)
        return self.ws.recv()

    def send(self, *texts):
        self.ws.send(json.dumps(list(texts)))

    def frame(self, timeout=5):
        """The next STOMP frame as (command, headers, body); heart-beats are passed over."""
        deadline = time.monotonic() + timeout
        while not self._frames:
            text = self.text(max(0.01, deadline - time.monotonic()))
            if text.startswith("a"):
                self._frames += [parsed(part) for part in json.loads(text[1:]) if part.strip("\n")]
        return self._frames.pop(0)

    def push(self, timeout=5):
        """The body of the next MESSAGE."""
        command, _headers, body = self.frame(timeout)
        assert command == "MESSAGE"
        return json.loads(body)

    def connect(self, token=None, beat="0,0", version="1.2"):
        header = f"authorization:{token}\n" if token else ""
        self.send(f"CONNECT\naccept-version:{version}\nheart-beat:{beat}\n{header}\n\0")

    def subscribe(self, topic=TOPIC, name="sub-0", receipt=True):
        self.send(f"SUBSCRIBE\nid:{name}\ndestination:{topic}\nack:auto\n" + f"receipt:{name}\n" * receipt + "\n\0")
        if receipt:
            assert self.frame()[:2] == ("RECEIPT", {"receipt-id": name})

    def quiet(self, seconds=0.3):
        """True if no STOMP frame comes within so many seconds."""
        try:
            self.frame(seconds)
        except websocket.WebSocketTimeoutException:
            return True
        return False

    def end(self, timeout=5):
        """How the connection ends: the close code, "closed" or "reset"; texts until then are passed over."""
        self.ws.settimeout(timeout)
        try:
            while True:
                opcode, data = self.ws.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    return int.from_bytes(data[:2], "big") if data else None
        except ConnectionResetError:
            return "reset"
        except websocket.WebSocketConnectionClosedException:
            return "closed"


def parsed(text):
    assert text.endswith("\0"), "every frame ends with NUL"
    head, _, body = text[:-1].partition("\n\n")
    command, *lines = head.split("\n")
    return command, dict(line.split(":", 1) for line in lines), body


@contextmanager
def opened(sim, **options):
    """A connection that is upgraded, and nothing more."""
    push = Push(sim, **options)
    try:
        yield push
    finally:
        push.ws.shutdown()


@contextmanager
def subscribed(sim, token=None, topics=(TOPIC,), **options):
    """A connection with CONNECTED and its subscriptions in place."""
    with opened(sim, **options) as push:
        assert push.text() == "o"
        push.connect(token)
        assert push.frame()[0] == "CONNECTED"
        for place, topic in enumerate(topics):
            push.subscribe(topic, f"sub-{place}")
        yield push


def raw_answer(sim, path):
    """The bytes of the answer to a GET, until the server closes; "reset" if it resets."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=5) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        try:
            while chunk := sock.recv(65536):
                data += chunk
        except ConnectionResetError:
            return "reset"
        return data
