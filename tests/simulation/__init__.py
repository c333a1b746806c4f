"""The whole bridge under seeded faults, in virtual time.

`python -m tests.simulation --seeds N`: each seed is a plan (plan.py) of impulses, corrections, late uploads, faults and
restarts. The real pure cores, the real turn of the loop and the real journal run against a server (server.py,
links.py), a broker (broker.py) and a machine with a disk and a clock (machine.py) of our own. witness.py sees every
message that the broker writes down, verdict.py says what must be true in the end.
"""
