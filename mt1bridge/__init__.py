"""mt1bridge: every trigger of an ALGE MT1, from the MT1 server to MQTT.

A map, in the order in which a trigger passes:

cloud/      the session with the MT1 server: login, token, quota, subscription; server JSON -> sightings
feed/       sightings -> facts, each once; corrections; what history is wanted next
journal/    what is known, durable and in order (SQLite), and what the broker has not acknowledged yet
topics/     facts and status -> topic names and payloads, Home Assistant discovery
mqtt/       the broker: hand-over, acknowledgements, commands in

model/      the values that cross those borders
bridge/     routes between the pure cores of the stages
turn.py     one turn of the loop: take events, write down, tell
app.py      the composition root: settings -> parts -> loop
config/     one YAML file -> frozen settings
runtime/    clock, back-off, logs, TLS, the state directory, systemd
cli/        one file per command
simulator/  an MT1 server of our own, for demo and tests
"""

__version__ = "0.1.0"
