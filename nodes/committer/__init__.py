"""From an ordered block to a committed one: validation, and the one thread that writes.

`validator.py` gives every transaction its verdict before MVCC, with `definitions.py` (what a
contract's policy is), `policies.py` (who satisfies it), `endorsement.py` (which policies a write
needs) and `signatures.py` (the threads that verify). `committer.py` puts that in front of the
ledger, compares outcomes, and halts the channel when it must. Nothing here runs contract code.
"""
