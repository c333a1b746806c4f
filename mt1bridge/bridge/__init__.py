"""Routes between the pure cores of the stages; nobody but `app.py` and this folder knows them all. Pure.

bridge.py    every event to its stage, every outcome to the next one
beginning.py when this process began, and how far back history is told
opening.py   when the present `journal` began, by a clock that is right
parts.py     the cores, and what the routes share
learning.py  sightings and history -> facts -> journal
delivery.py  journal -> topics -> broker, and what the broker acknowledged
devices.py   which devices and channels are ours, and their names
report.py    states, availability, health
commands.py  requests over MQTT, and their answers
"""

from mt1bridge.bridge.bridge import Bridge
from mt1bridge.bridge.parts import Event, Measures, Order, Start

__all__ = ["Bridge", "Event", "Measures", "Order", "Start"]
