"""The two contracts of the package, put together from the book and the cases.

What is recorded and paid (`book`) and what ends or releases a case (`cases`) share the namespace
`instalments`, since both must go on without lender and regulator. Deliberately absent: rules.
"""

from __future__ import annotations

from typing import ClassVar

from chaincode.contract import Contract

from .book.functions import BookFunctions
from .book.queries import BookQueries


class InstalmentsContract(BookFunctions, BookQueries, Contract):
    """Devices, agreements, payments, and whatever ends or releases a case."""

    name: ClassVar[str] = "instalments"
    title: ClassVar[str] = "Instalments: devices, agreements, payments, endings, releases"
    version: ClassVar[str] = "1.0"
