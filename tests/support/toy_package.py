"""A small contract package to install, load and spoil: its answer stands in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from chaincode.system import LIFECYCLE
from ledger.state.version import Version
from tests.support.memory_state import MemoryState

MAIN = """
from chaincode.contract import Context, Contract, query, transaction

from .rules import ANSWER


class Toy(Contract):
    name = "toy"

    @query
    def answer(self, ctx: Context) -> str:
        return ANSWER

    @transaction
    def keep(self, ctx: Context, key: str, value: str) -> None:
        ctx.stub.put_state(key, value.encode())
"""


def toy_files(version: str = "1", answer: str = "one", **more: str) -> dict[str, bytes]:
    """Return the files of the package; *more* adds or replaces modules by name."""
    files = {
        "contract.toml": f'label = "toy"\nversion = "{version}"\n[contracts]\ntoy = "main:Toy"\n',
        "__init__.py": '"""A toy."""\n',
        "main.py": MAIN,
        "rules.py": f"ANSWER = {answer!r}\n",
    }
    files |= {f"{name}.py": source for name, source in more.items()}
    return {path: source.encode() for path, source in files.items()}


def write_package(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a new folder and return it."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def define(state: MemoryState, name: str, version: str, sequence: int = 1) -> None:
    """Put the definition of a contract into a state, as `_lifecycle` would."""
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo(version=version)
    values = {
        f"namespaces/metadata/{name}": db_pb2.StateMetadata(datatype="ChaincodeDefinition"),
        f"namespaces/fields/{name}/Sequence": db_pb2.StateData(Int64=sequence),
        f"namespaces/fields/{name}/EndorsementInfo": db_pb2.StateData(
            Bytes=endorsement.SerializeToString()
        ),
    }
    for key, value in values.items():
        state.put(LIFECYCLE, key, value.SerializeToString(), Version(state.height, sequence))
