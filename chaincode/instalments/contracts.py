"""The two contracts of the package, put together from the book and the cases.

What is recorded and paid (`book`) and what ends or releases a case (`cases`) share the namespace
`instalments`, since both must go on without lender and regulator. Deliberately absent: rules.
"""

from __future__ import annotations

from typing import ClassVar

from chaincode.contract import Contract

from .book.functions import BookFunctions
from .book.queries import BookQueries
from .cases.functions import CaseFunctions
from .cases.queries import CaseQueries
from .cases.release_queries import ReleaseQueries
from .cases.releasing import ReleaseFunctions
from .governance.functions import GovernanceFunctions
from .governance.queries import GovernanceQueries


class InstalmentsContract(BookFunctions, BookQueries, ReleaseFunctions, ReleaseQueries, Contract):
    """Devices, agreements, payments, and whatever ends or releases a case."""

    name: ClassVar[str] = "instalments"
    title: ClassVar[str] = "Instalments: devices, agreements, payments, endings, releases"
    version: ClassVar[str] = "1.0"


class EnforcementContract(
    GovernanceFunctions, GovernanceQueries, CaseFunctions, CaseQueries, Contract
):
    """Members, policy, and whatever opens and decides a case."""

    name: ClassVar[str] = "enforcement"
    title: ClassVar[str] = "Enforcement: members, policy, cases, ballots, block orders"
    version: ClassVar[str] = "1.0"
