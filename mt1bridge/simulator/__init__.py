"""An MT1 server of our own, for demo and tests. Imports nothing else of ours."""
