"""The SDK: one conversation with a Fabric gateway, and two faces on it, blocking and asyncio.

Read `operations` (the conversation, without input or output), `messages` (its bytes), `blocking`
and `asynchronous` (the faces), `errors` (what can go wrong at which stage), `rota` (several
gateways of a member), `bulk` and `retry` (what may be repeated) in this order. Programs import it
from `qist`.
"""
