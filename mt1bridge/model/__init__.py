"""Values that cross the borders between stages. Standard library only; nothing here does anything.

trigger.py   who a trigger is, and what the server says of it
fact.py      what is told of a trigger on MQTT
known.py     what the journal remembers of a trigger and of a channel
books.py     what topics/ may read of the journal
history.py   what the feed wants to know from the server's history, and what came of it
upstream.py  events and orders of the link to the MT1 server
broker.py    events and orders of the link to the MQTT broker
orders.py    all orders to the loop, and events of the process itself
status.py    names of states; what people are told of the bridge itself
secret.py    text that cannot be printed
clock.py     a moment, as the loop hands it to the cores
errors.py    what ends a command, with its exit code
"""
