"""Blocks, transactions, world state, history, proofs; knows no network, identity or contract."""
