"""Makes network/ordering/cometbft/messages from CometBFT's published protocol files.

    python tools/make_messages.py GO            fetch, generate, write; `make messages` does it
    python tools/make_messages.py GO --check    the same, but compare with what is there

The modules and their hashes stand in requirements/cometbft.sum, the generator is the protoc of
grpcio-tools in requirements/dev.txt. The protocol files are read as they are, with gogoproto's
options. What differs in ours is changed in their descriptors, not in their text:

- options go: they tell Go's generator how to write Go, and would need gogoproto at run time;
- files get the path, and messages the package, of this project, so that no other library's
  copy of the same messages in one process gets in the way. Names do not stand on the wire;
- services go: CometBFT is spoken to over a socket.

`sources.json` beside the modules records what they were made from and with; a test generates them
anew from their own descriptors, which needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements" / "cometbft.sum"
FOLDER = "network/ordering/cometbft/messages"
RECORD = "sources.json"
COMETBFT = "github.com/cometbft/cometbft"
GOGOPROTO = "github.com/cosmos/gogoproto"
PACKAGE = "qist.cometbft"

# Their file, and the name of our module.
MODULES = {
    "tendermint/abci/types.proto": "abci",
    "tendermint/crypto/keys.proto": "keys",
    "tendermint/crypto/proof.proto": "proof",
    "tendermint/types/canonical.proto": "canonical",
    "tendermint/types/params.proto": "params",
    "tendermint/types/types.proto": "types",
    "tendermint/types/validator.proto": "validator",
    "tendermint/version/types.proto": "version",
}


def fetch(go: Path) -> dict[str, Path]:
    """Fetch the pinned modules and return their folders; a module of another hash is refused."""
    folders = {}
    for line in PINS.read_text("ascii").splitlines():
        module, version, pinned = line.split()
        done = subprocess.run(
            [str(go), "mod", "download", "-json", f"{module}@{version}"],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{module} {version} cannot be fetched: {done.stdout}{done.stderr}")
        found = json.loads(done.stdout)
        if found["Sum"] != pinned:
            raise SystemExit(f"{module} {version} has the hash {found['Sum']}, not {pinned}")
        folders[module] = Path(found["Dir"])
    return folders


def run_protoc(*words: str) -> None:
    """Run the generator; what it complains about it says itself."""
    if protoc.main(["protoc", *words]):
        raise SystemExit("protoc failed")


def read_descriptors(folders: Mapping[str, Path]) -> descriptor_pb2.FileDescriptorSet:
    """Parse the protocol files as they were published."""
    google = Path(protoc.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch, "set")
        run_protoc(
            f"-I{folders[COMETBFT] / 'proto'}",
            f"-I{folders[GOGOPROTO]}",
            f"-I{google}",
            "--include_imports",
            f"--descriptor_set_out={output}",
            *MODULES,
        )
        return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


def adapt(published: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    """Return the descriptors that our modules are generated from."""
    ours = descriptor_pb2.FileDescriptorSet()
    for file in published.file:
        if file.name.startswith("gogoproto/") or file.name == "google/protobuf/descriptor.proto":
            continue
        adapted = ours.file.add()
        adapted.CopyFrom(file)
        if file.name.startswith("google/"):
            continue
        adapted.name = f"{FOLDER}/{MODULES[file.name]}.proto"
        adapted.package = renamed(file.package)
        adapted.dependency[:] = [
            f"{FOLDER}/{MODULES[name]}.proto" if name in MODULES else name
            for name in file.dependency
            if not name.startswith("gogoproto/")
        ]
        adapted.ClearField("options")
        adapted.ClearField("service")
        for message in adapted.message_type:
            adapt_message(message)
        for enum in adapted.enum_type:
            adapt_enum(enum)
    return ours


def adapt_message(message: descriptor_pb2.DescriptorProto) -> None:
    """Rename the types that the fields name, and drop the options."""
    if not message.options.map_entry:
        message.ClearField("options")
    for field in message.field:
        field.ClearField("options")
        # The generator keeps it where it is said, though it is what follows from the name.
        field.ClearField("json_name")
        if field.type_name.startswith(".tendermint."):
            field.type_name = f".{renamed(field.type_name.removeprefix('.'))}"
    for each in message.nested_type:
        adapt_message(each)
    for enum in message.enum_type:
        adapt_enum(enum)
    for oneof in message.oneof_decl:
        oneof.ClearField("options")


def adapt_enum(enum: descriptor_pb2.EnumDescriptorProto) -> None:
    """Drop the options."""
    enum.ClearField("options")
    for value in enum.value:
        value.ClearField("options")


def renamed(name: str) -> str:
    """Return our name of one of CometBFT's packages or messages."""
    return f"{PACKAGE}.{name.removeprefix('tendermint.')}"


def generate(descriptors: descriptor_pb2.FileDescriptorSet) -> dict[str, bytes]:
    """Return the modules and their stubs by file name."""
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch, "set")
        given.write_bytes(descriptors.SerializeToString(deterministic=True))
        names = [file.name for file in descriptors.file if file.name.startswith(FOLDER)]
        outputs = (f"--python_out={scratch}", f"--pyi_out={scratch}")
        run_protoc(f"--descriptor_set_in={given}", *outputs, *names)
        made = sorted(Path(scratch, FOLDER).iterdir())
        return {path.name: path.read_bytes() for path in made}


def sha256_of(files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Return the digest of each content by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files}


def record(folders: Mapping[str, Path], made: Mapping[str, bytes]) -> bytes:
    """Return what the modules were made from and with, as JSON."""
    proto = folders[COMETBFT] / "proto"
    described = {
        "modules": PINS.read_text("ascii").splitlines(),
        "generator": f"grpcio-tools {importlib.metadata.version('grpcio-tools')}",
        "read": sha256_of((name, (proto / name).read_bytes()) for name in MODULES),
        "made": sha256_of(made.items()),
    }
    return json.dumps(described, indent=2).encode() + b"\n"


def main() -> int:
    """Write the modules, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("go", type=Path, help="the Go that fetches the modules")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    asked = parser.parse_args()
    folders = fetch(asked.go)
    made = generate(adapt(read_descriptors(folders)))
    made[RECORD] = record(folders, made)
    target = ROOT / FOLDER
    there = {path.name: path.read_bytes() for path in target.iterdir() if is_made(path)}
    if asked.check:
        differing = sorted(name for name in made | there if made.get(name) != there.get(name))
        if differing:
            print(f"differing in {FOLDER}: {', '.join(differing)}; run: make messages")
        return bool(differing)
    for name in there.keys() - made.keys():
        (target / name).unlink()
    for name, content in made.items():
        (target / name).write_bytes(content)
    print(f"written: {len(made)} files in {FOLDER}")
    return 0


def is_made(path: Path) -> bool:
    """Tell whether a file of the folder is made by this tool."""
    return path.name == RECORD or path.name.endswith(("_pb2.py", "_pb2.pyi"))


if __name__ == "__main__":
    sys.exit(main())
