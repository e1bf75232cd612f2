"""Blocks of a channel, fetched from a peer's Deliver service into a folder."""
