"""From sightings to facts, each once: stage 2. Pure.

intake.py       sightings -> what the journal writes down
corrections.py  what a sighting means, given what is known of its trigger
rows.py         what all rows of history under one identity add up to
reconcile.py    which count or page of history is wanted next, for all channels
channel.py      one channel: pages, comparison, conclusion
scan.py         one walk through history, page by page
proof.py        whether a count is explained by what history showed
outcomes.py     what reconciling tells the others to do
awaited.py      what history showed while it was fresh: push should bring it soon
clocks.py       whether an impulse is too old to act on
"""
