"""The session with the MT1 server: stage 1. Pure: framing, decoding, replies, budget, session. Shells: rest, link."""
