"""Contract packages: read, named by hash, installed on a node, loaded side by side.

A package is what organisations agree to run: its manifest and its modules, and nothing else. The
bytes behind its id are in docs/formats.md, how to write one in docs/howto/write-a-contract.md.
Absent: who may install one and who has agreed to it (`chaincode.system`, `nodes`).
"""

from chaincode.packages.archive import read_package, unpack
from chaincode.packages.consent import Approvals
from chaincode.packages.loader import load_package
from chaincode.packages.manifest import MANIFEST, Manifest, decode_manifest
from chaincode.packages.package import ContractPackage
from chaincode.packages.registry import ContractStanding, PackageRegistry
from chaincode.packages.store import InstalledPackage, PackageStore, examine_package

__all__ = [
    "MANIFEST",
    "Approvals",
    "ContractPackage",
    "ContractStanding",
    "InstalledPackage",
    "Manifest",
    "PackageRegistry",
    "PackageStore",
    "decode_manifest",
    "examine_package",
    "load_package",
    "read_package",
    "unpack",
]
