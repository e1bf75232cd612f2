"""Deliver: blocks as they are committed, for programs that follow a channel.

Read `seek` (what a request says), `session` (how one stream is served), `encoding` (full and
filtered blocks), `service` (gRPC), in this order. The orderer's Deliver (`nodes.orderer`) is the
same session under another policy.
"""
