"""Blocks, transactions, world state, history and proofs; knows no network, identity, contract or clock."""
