"""The gateway: what applications call, on the client port.

Read `service` (the five RPCs), `endorsing` (how endorsements are collected), `layouts` (which
members suffice), `members` (how they are reached), `events`, `nodes.rpc`, in this order.
"""
