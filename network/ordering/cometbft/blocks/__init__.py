"""Blocks: what a decided height becomes, and what it proves.

`ordered` makes the Fabric block of a height's bundles, `app_hash` what the next header says of it,
`begun` has its checks begin ahead of time, `recorded` knows heights that are in the ledger already.
"""
