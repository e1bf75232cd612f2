"""How much one transaction may do on this node.

They protect the node, not the channel: an endorser with other limits may endorse what this one
refuses. Each refusal says which limit it was and that a smaller transaction may pass.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one simulation; Fabric's own figures where it has any.

    Attributes:
        deadline_s: seconds of wall time.
        arguments_bytes: all arguments and transient entries together.
        reads: keys read one by one or in ranges.
        writes: keys written, metadata included.
        write_bytes: keys and values written, together.
        payload_bytes: the result.
        event_bytes: payload of the event.
        page_size: results of one page.
        call_depth: contracts calling contracts.
    """

    deadline_s: float = 10.0
    arguments_bytes: int = 8 * 1024 * 1024
    reads: int = 100_000
    writes: int = 20_000
    write_bytes: int = 16 * 1024 * 1024
    payload_bytes: int = 16 * 1024 * 1024
    event_bytes: int = 1024 * 1024
    page_size: int = 10_000
    call_depth: int = 8
