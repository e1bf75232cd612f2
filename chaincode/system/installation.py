"""Packages on this node, asked for over the wire by admins of its own organisation.

    InstallChaincode(InstallChaincodeArgs)                        keeps a packed package here
    QueryInstalledChaincode(QueryInstalledChaincodeArgs)          one of those here
    QueryInstalledChaincodes(QueryInstalledChaincodesArgs)        all of them
    GetInstalledChaincodePackage(GetInstalledChaincodePackageArgs)  one of them as it was sent

They concern the node and leave nothing on the channel, so they are evaluated, not submitted.
Installing what is here already changes nothing. What a package serves is told with it, for the
definitions in force. Source: Fabric, core/chaincode/lifecycle/scc.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract.context import Context
from chaincode.errors import ContractRefusal
from chaincode.system.functions import Function, decode_argument
from chaincode.system.ports import InstalledContracts, InstalledPackage
from ledger.errors import Refusal

References = Mapping[str, Sequence[tuple[str, str]]]
"""Names and versions of the definitions in force that a package serves, by its id."""


class Installation:
    """The functions of `_lifecycle` about packages.

    Args:
        installed: the packages here.
        references: what serves which definition, in the state of a transaction.
    """

    def __init__(
        self, installed: InstalledContracts, references: Callable[[Context], References]
    ) -> None:
        self._installed = installed
        self._references = references
        self.functions: Mapping[str, Function] = {
            "InstallChaincode": self._install,
            "QueryInstalledChaincode": self._query_one,
            "QueryInstalledChaincodes": self._query_all,
            "GetInstalledChaincodePackage": self._package,
        }

    def _install(self, _ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.InstallChaincodeArgs, args)
        try:
            found = self._installed.install_packed(asked.chaincode_install_package)
        except Refusal as error:
            raise ContractRefusal(
                "the package",
                f"could not parse as a chaincode install package: {error}",
                "pack it with `qist contract package`",
            ) from error
        raw: bytes = lifecycle_pb2.InstallChaincodeResult(
            package_id=found.package_id, label=_label(found)
        ).SerializeToString()
        return raw

    def _query_one(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.QueryInstalledChaincodeArgs, args)
        found = self._find(asked.package_id)
        result = lifecycle_pb2.QueryInstalledChaincodeResult()
        raw: bytes = _describe(result, ctx, found, self._references(ctx)).SerializeToString()
        return raw

    def _query_all(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        decode_argument(lifecycle_pb2.QueryInstalledChaincodesArgs, args)
        references = self._references(ctx)
        result = lifecycle_pb2.QueryInstalledChaincodesResult()
        for found in self._installed.installed():
            _describe(result.installed_chaincodes.add(), ctx, found, references)
        raw: bytes = result.SerializeToString()
        return raw

    def _package(self, _ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = decode_argument(lifecycle_pb2.GetInstalledChaincodePackageArgs, args)
        found = self._find(asked.package_id)
        raw: bytes = lifecycle_pb2.GetInstalledChaincodePackageResult(
            chaincode_install_package=self._installed.packed(found.package_id)
        ).SerializeToString()
        return raw

    def _find(self, package_id: str) -> InstalledPackage:
        for found in self._installed.installed():
            if found.package_id == package_id:
                return found
        shown = package_id if len(package_id) <= 160 and package_id.isprintable() else ""
        raise ContractRefusal(
            "the package",
            f"chaincode install package '{shown}' not found",
            "ask for those that are installed",
            status=404,
        )


def _label(package: InstalledPackage) -> str:
    return package.package_id.rpartition(":")[0]


def _describe(
    message: lifecycle_pb2.QueryInstalledChaincodeResult
    | lifecycle_pb2.QueryInstalledChaincodesResult.InstalledChaincode,
    ctx: Context,
    package: InstalledPackage,
    references: References,
) -> lifecycle_pb2.QueryInstalledChaincodeResult:
    """Fill a query's result, whose fields have the same names whether one is asked for or all."""
    message.package_id = package.package_id
    message.label = _label(package)
    for name, version in references.get(package.package_id, ()):
        message.references[ctx.channel_id].chaincodes.add(name=name, version=version)
    return message
