"""Ordering: one port, and the engines behind it that put envelopes into blocks in one order.

`ports.py` says what an engine promises and what it asks of a node. `admission.py` holds the checks
that every engine makes before an envelope may enter a block. `block_signature.py` signs blocks and
verifies their signatures. `solo/` is the engine for one machine, development and pilots.
"""
