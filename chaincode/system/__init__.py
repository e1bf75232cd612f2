"""The contracts that belong to the node itself: `_lifecycle`, `qscc`, `cscc`.

Their names, arguments and results are Fabric's, so that its clients and tools can call them. What
they need of the node stands in `ports`; who may call them is decided before they run.
"""

from chaincode.system.cscc import ConfigurationQueries
from chaincode.system.definitions import LIFECYCLE, Definition, load_definition
from chaincode.system.lifecycle import Lifecycle
from chaincode.system.qscc import BlockQueries

__all__ = [
    "LIFECYCLE",
    "BlockQueries",
    "ConfigurationQueries",
    "Definition",
    "Lifecycle",
    "load_definition",
]
