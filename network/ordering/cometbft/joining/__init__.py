"""Joining: with what a node begins that has nothing, or not all, and that it signs nothing twice.

`beginning` decides; `sign_guard`, `vote_memory` and `height_claims` keep a key from voting twice.
`snapshots` and `snapshot_…` give and take the chain; `relay` and `light_rpc` let CometBFT's light
client ask other members.
"""
