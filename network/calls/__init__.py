"""Many calls on one long-lived stream, for those who call without pause.

A gRPC call of its own costs caller and server together about half a millisecond of Python, however
little it says; here calls and answers that are ready at the same time travel in one message. What
is called, how it is judged, its deadline and its errors are the same as those of a call of its own,
and whoever does not offer the stream is called that way.

Read `frames` (the bytes) and `line` (the caller's end). The other end is `nodes.rpc.calls`.
"""

from network.calls.frames import METHOD, SERVICE
from network.calls.line import CallFailed, CallLine

__all__ = ["METHOD", "SERVICE", "CallFailed", "CallLine"]
