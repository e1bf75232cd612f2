"""CometBFT's messages are what their tool makes: from which files, by which generator, to the byte.

Fetching the protocol files needs a registry, so here the modules are made anew from the descriptors
that they carry. Where those came from stands in their record.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, duration_pb2, timestamp_pb2
from packaging.requirements import Requirement

from tests.structure.tree import ROOT, pyproject, read

TOOL: Any = importlib.import_module("tools.make_messages")
FOLDER = Path(TOOL.FOLDER)
RECORD: dict[str, Any] = json.loads(read(FOLDER / TOOL.RECORD))
MADE = sorted(path.name for path in (ROOT / FOLDER).iterdir() if TOOL.is_made(path))


def carried() -> descriptor_pb2.FileDescriptorSet:
    """The descriptors in the committed modules, each after those it needs."""
    modules = {
        f"{TOOL.FOLDER}/{name}.proto": importlib.import_module(
            f"{TOOL.FOLDER.replace('/', '.')}.{name}_pb2"
        ).DESCRIPTOR
        for name in TOOL.MODULES.values()
    }
    ours = descriptor_pb2.FileDescriptorSet()
    done: set[str] = set()

    def add(descriptor: Any) -> None:
        if descriptor.name in done:
            return
        done.add(descriptor.name)
        for each in descriptor.dependencies:
            add(each)
        descriptor.CopyToProto(ours.file.add())

    for each in (timestamp_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR, *modules.values()):
        add(each)
    return ours


def test_messages_made_anew_from_their_descriptors_are_the_same_bytes() -> None:
    """Nothing in a module or its stub was written by hand, or by another generator."""
    made = TOOL.generate(carried())
    differing = [
        name for name, content in made.items() if (ROOT / FOLDER / name).read_bytes() != content
    ]
    assert differing == []
    assert sorted([*made, TOOL.RECORD]) == MADE


def test_messages_record_holds_the_digest_of_each_module() -> None:
    """The record and the modules were written together."""
    found = {
        name: hashlib.sha256((ROOT / FOLDER / name).read_bytes()).hexdigest()
        for name in MADE
        if name != TOOL.RECORD
    }
    assert found == RECORD["made"]
    assert sorted(RECORD["read"]) == sorted(TOOL.MODULES)


def test_comet_pins_name_exact_versions_and_hashes_and_no_place() -> None:
    """What CometBFT is built from is pinned as in a go.sum."""
    pins = read(Path("requirements/cometbft.sum")).splitlines()
    form = re.compile(r"github\.com/\S+ v\d+\.\d+\.\d+ h1:[A-Za-z0-9+/]{43}=")
    assert [pin for pin in pins if not form.fullmatch(pin)] == []
    assert [pin.split()[0] for pin in pins] == [TOOL.COMETBFT, TOOL.GOGOPROTO]


def test_messages_record_names_the_pins_that_are_in_force() -> None:
    """A raised pin of the modules or of the generator asks for new messages."""
    assert RECORD["modules"] == read(Path("requirements/cometbft.sum")).splitlines()
    name, version = RECORD["generator"].split()
    assert re.search(rf"^{name}=={re.escape(version)} ", read(Path("requirements/dev.txt")), re.M)


def test_messages_run_on_every_protobuf_that_is_declared() -> None:
    """Generated code refuses a runtime that is older than it, or of a later major version."""
    [protobuf] = [
        requirement
        for line in pyproject()["project"]["dependencies"]
        if (requirement := Requirement(line)).name == "protobuf"
    ]
    for name in MADE:
        if name.endswith("_pb2.py"):
            [version] = re.findall(r"^# Protobuf Python Version: (\S+)$", read(FOLDER / name), re.M)
            assert protobuf.specifier.contains(version), f"{name} asks for {version}"
            lowest = next(each for each in protobuf.specifier if each.operator == ">=").version
            assert tuple(map(int, version.split("."))) <= (*map(int, lowest.split(".")), 0)


def test_messages_names_clash_with_no_other_library() -> None:
    """Their packages are ours, so another library's copy of the same messages is not in the way."""
    ours = [file for file in carried().file if file.name.startswith(TOOL.FOLDER)]
    assert len(ours) == len(TOOL.MODULES)
    assert [file.package for file in ours if not file.package.startswith(f"{TOOL.PACKAGE}.")] == []


def test_messages_adapted_lose_options_and_keep_numbers() -> None:
    """Field numbers and types, which stand on the wire, are those that were published."""
    published = descriptor_pb2.FileDescriptorSet()
    file = published.file.add(name="tendermint/types/types.proto", package="tendermint.types")
    file.options.go_package = "elsewhere"
    message = file.message_type.add(name="Thing")
    message.field.add(name="whole", number=7, type=11, type_name=".tendermint.crypto.Proof")
    message.field[0].options.deprecated = True
    [adapted] = TOOL.adapt(published).file
    assert adapted.name == f"{TOOL.FOLDER}/types.proto"
    assert adapted.package == "qist.cometbft.types"
    assert not adapted.HasField("options")
    [field] = adapted.message_type[0].field
    assert (field.number, field.type_name) == (7, ".qist.cometbft.crypto.Proof")
    assert not field.HasField("options")


@pytest.mark.parametrize("name", sorted(TOOL.MODULES.values()))
def test_messages_module_imports(name: str) -> None:
    """Each module is imported by its name under this project's package."""
    module = importlib.import_module(f"network.ordering.cometbft.messages.{name}_pb2")
    assert module.DESCRIPTOR.message_types_by_name
