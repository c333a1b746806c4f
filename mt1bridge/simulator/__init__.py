"""An MT1 server of our own, for demo and tests. Imports nothing else of ours.

A map, from the outside to the inside:

thread       the simulator in a thread, for synchronous tests: `with running_simulator() as sim: sim.url`
server       `Simulator`: the web server; log of requests, quota and faults around every call
control      `Control`, every verb, also over HTTP at /control/<verb>; made of:
  timing       devices and timekeepers: impulse, renumber, clear, delete, edit, late upload
  trouble      behaviour, faults, tokens, quota, sockets, injections
  reports      accounts and devices; stored, counters, requests
  load         many triggers at a rate;  traffic, race: an alpine race without end
rest         login, device list, count, history;  damage: their answers as they should not be
realtime     /devices/info and the upgrade;  session: SockJS and STOMP on one connection
world        what one simulator consists of; tokens; the way of a push
store, rows  accounts, devices, tokens; what is stored per channel and what is true of each trigger
behaviour    one switch per unknown of MT1-API, section 13;  faults: what can be told to go wrong
quota, wire, transport, clock
"""

from mt1bridge.simulator.behaviour import Behaviour
from mt1bridge.simulator.control import Control
from mt1bridge.simulator.server import Simulator
from mt1bridge.simulator.thread import SimulatorThread, running_simulator

__all__ = ["Behaviour", "Control", "Simulator", "SimulatorThread", "running_simulator"]
