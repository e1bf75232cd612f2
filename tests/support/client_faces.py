"""The SDK's two faces, driven alike, so that one test says what both must do.

face = Blocking(endpoint, signer=signer)          # or Asynchronous
face.call(face.contract.submit, "Put", "k", "1")
face.close()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.blocking import Gateway

CHANNEL = "qist"


class Blocking:
    """Drives the blocking face."""

    def __init__(self, *endpoints: Any, signer: Any, **options: Any) -> None:
        self.gateway = Gateway(endpoints, signer, **options)
        self.contract = self.gateway.network(CHANNEL).contract("book")

    def call(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call a method of the face."""
        return method(*args, **named)

    def take(self, events: Any, count: int) -> list[Any]:
        """The next events of a stream, which is closed then."""
        taken = [next(events) for _ in range(count)]
        events.close()
        return taken

    def close(self) -> None:
        """Close the connection."""
        self.gateway.close()


class Asynchronous:
    """Drives the asyncio face, on a loop of its own."""

    def __init__(self, *endpoints: Any, signer: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.gateway: Any = self.call(self._open, endpoints, signer, options)
        self.contract = self.gateway.network(CHANNEL).contract("book")

    async def _open(self, endpoints: Any, signer: Any, options: dict[str, Any]) -> AsyncGateway:
        return AsyncGateway(endpoints, signer, **options)

    def call(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Await a method of the face."""

        async def awaited() -> Any:
            return await method(*args, **named)

        return self._runner.run(awaited())

    def take(self, events: Any, count: int) -> list[Any]:
        """The next events of a stream, which is closed then."""

        async def taken() -> list[Any]:
            try:
                return [await anext(events) for _ in range(count)]
            finally:
                await events.aclose()

        return self.call(taken)

    def close(self) -> None:
        """Close the connection."""
        self.call(self.gateway.close)
        self._runner.close()
