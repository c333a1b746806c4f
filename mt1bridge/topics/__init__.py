"""Facts and status -> topic names, payloads, Home Assistant discovery: stage 4. Pure.

names.py         names of topics
payloads.py      facts and what is in effect -> JSON
times.py         times as the contract writes them
desk.py          everything retained, and where it comes from
board.py         which retained topic is out of date, and which goes next
standing.py      which state of the upstream link to tell
health.py        numbers of the health message
requests.py      requests over MQTT -> values
replays.py       replays under way
introduction.py  Home Assistant's configurations on the board
discovery.py     Home Assistant's discovery messages
components.py    the entities in them
"""
