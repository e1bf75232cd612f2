"""Bundles: envelopes that a node vouches for, made of its clients' and judged by rules for all.

A node's own way: `gathering`, `making`, `sending`, put together by `submission`. What all nodes
judge alike: `bundle` (the form), `rules`, `window` (none twice), `selection` (a fair choice), with
`judged` (each once) and `quota` (how much may wait) beside them.
"""
