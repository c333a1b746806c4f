"""The MQTT broker: stage 5.

Pure:
handover.py      which message goes next, and which ones are not acknowledged
suspicion.py     which message, if any, makes the broker close the connection
session.py       when to connect, whether we may publish
vigil.py         when a PINGREQ is due, and when a broker has been silent for too long
packet.py        the parts of MQTT packets that we make ourselves
reasons.py       what reason codes mean
closures.py      what a broker means that closes the connection without a word

Shells:
publisher.py     orders in, events out
connection.py    one connection, in a thread of its own
dialling.py      connecting, in another one
alarm.py         wakes a thread that waits for a socket
ending.py        why a connection ended
client.py        what a connection needs of an MQTT library
paho_client.py   paho-mqtt behind that face
strict_paho.py   what we change in paho-mqtt
wire.py          the socket under it
"""
