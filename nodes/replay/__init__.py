"""Audit of a Fabric channel: its blocks, taken through our own validation and compared.

`recording.py` finds and reads the blocks, `delivered.py` checks everything about a block that its
orderers and the peer wrote around the transactions, `replay.py` judges and commits one block after
another and compares, `reasons.py` says which check decided a verdict, and `difference.py` is what a
comparison comes to. `snapshot_files.py` reads a peer's own snapshot and `comparison.py` compares it
with our state. Nothing here talks to a network.
"""
