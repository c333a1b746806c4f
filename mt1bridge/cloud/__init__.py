"""The session with the MT1 server: stage 1.

Pure, from the session down to the bytes:
session.py       login, token, device list, one call at a time; routes between the modules below
subscription.py  which connection to the realtime endpoint is wanted
budget.py        when a REST call may be made
replies.py       what came of a REST call
decode.py        the server's JSON -> sightings
json_text.py     JSON, strictly read and exactly written again
kept.py          token and budget, as they are kept over a restart
subscribing.py   the SUBSCRIBEs of one connection
limits.py        how long the link waits for what
stomp_frames.py  STOMP frames out of SockJS strings
sockjs.py        SockJS frames out of WebSocket messages

Shells:
link.py          the open connections to the realtime endpoint
connection.py    one of them: the talk in STOMP, deadlines, heart-beats
transport.py     the one door to stomp.py and websocket-client
dial.py, wire.py from a URL to a connected stream; the stream, and all waiting on it
rest.py          REST calls, one after the other: the one door to requests
rest_watch.py    the deadline over a whole call
rest_trouble.py  why a call brought no answer (pure)
"""
