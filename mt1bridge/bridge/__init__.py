"""Routes between the pure cores of the stages; nobody but `app.py` and this folder knows them all. Pure.

bridge.py    every event to its stage, every outcome to the next one
parts.py     the cores, and what the routes share
learning.py  sightings and history -> facts -> journal
delivery.py  journal -> topics -> broker, and what the broker acknowledged
devices.py   which devices and channels are ours, and their names
report.py    states, availability, health
beginning.py what was reckoned from the moment of the start, under a wrong clock
commands.py  requests over MQTT, and their answers
"""

from mt1bridge.bridge.bridge import Bridge
from mt1bridge.bridge.parts import Event, Measures, Order, Start

__all__ = ["Bridge", "Event", "Measures", "Order", "Start"]
