"""What one writes in an hour: MT1 server to MQTT with requests, websocket-client and paho. The benchmark's yardstick.

naive.py URL USERNAME PASSWORD CA_FILE BROKER_PORT: no journal, no history, no renewal, no reconnect; it publishes what
is pushed, with QoS 1, to naive/<device>/<channel>/trigger.
"""

import json
import secrets
import ssl
import sys
import threading
import time

import paho.mqtt.client as paho
import requests
import websocket

url, username, password, ca_file, broker_port = sys.argv[1:]

broker = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
broker.tls_set(ca_certs=ca_file)
broker.max_queued_messages_set(0)
broker.connect("localhost", int(broker_port))
broker.loop_start()

session = requests.Session()
session.verify = ca_file
session.trust_env = False
login = session.post(f"{url}/mt1/api/user/login", json={"username": username, "password": password}, timeout=10)
token = login.headers["authorization"]
user = login.json()["data"][0]["id"]
listed = session.get(f"{url}/mt1/api/user/{user}/devices", headers={"authorization": token}, timeout=10)
devices = [str(device["id"]) for device in listed.json()["data"]]

place = f"{url.replace('http', 'ws', 1)}/devices/{secrets.randbelow(1000):03d}/{secrets.token_hex(8)}/websocket"
server = websocket.create_connection(place, sslopt={"ca_certs": ca_file, "cert_reqs": ssl.CERT_REQUIRED})


def send(text: str) -> None:
    server.send(json.dumps([text]))


def beat() -> None:
    while True:
        time.sleep(10)
        send("\n")


def take(frame: str) -> None:
    head, _, body = frame.rstrip("\0").partition("\n\n")
    if head.startswith("CONNECTED"):
        for number, device in enumerate(devices):
            send(f"SUBSCRIBE\nid:sub-{number}\ndestination:/topic/device/{device}/trigger\nack:auto\n\n\0")
    elif head.startswith("MESSAGE"):
        trigger = json.loads(body)["dto"]
        topic = f"naive/{trigger['deviceId']}/{trigger['timingChannel']}/trigger"
        broker.publish(topic, json.dumps({**trigger, "timestamp": str(trigger["timestamp"])}), qos=1)


server.recv()  # "o"
send(f"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\nauthorization:{token}\n\n\0")
threading.Thread(target=beat, daemon=True).start()
while True:
    text = server.recv()
    if text.startswith("a"):
        for frame in json.loads(text[1:]):
            take(frame)
