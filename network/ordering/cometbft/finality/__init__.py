"""Finality: why a block cannot be undone, kept beside it, and proved to whoever has the genesis.

`finality` and `vote_signature` verify headers and votes, `records` one record beside a block,
`keeper` files them, `retention` says how far back CometBFT keeps its own. `proofs` verifies a block
that proves itself, which `proof_making` makes and `proof_file` writes.
"""
