"""The network profile of ``fabric-sdk-py``: organisations by name, users, peers.

It is Fabric's JSON profile with small liberties: a peer's url may lack its scheme, a path may be
relative to the current folder as well as to the profile's, a ``pem`` may be in base64.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.gateway.connection import Endpoint
from clients.gateway.errors import ProfileError
from clients.gateway.profile import field_of, load_profile
from network.msp import SigningIdentity

_NAME_OVERRIDE = "grpc.ssl_target_name_override"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs; what ``get_user`` gives.

    Attributes:
        name: of the user in the profile.
        org: name of its organisation in the profile.
        msp_id: of that organisation.
    """

    name: str
    org: str
    msp_id: str
    signer: SigningIdentity = field(repr=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer of the profile; what ``get_peer`` gives.

    Attributes:
        name: in the profile.
        org: name of its organisation.
        msp_id: of that organisation.
        endpoint: address of its gateway.
    """

    name: str
    org: str
    msp_id: str
    endpoint: Endpoint = field(repr=False)


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """A profile that was read; its parts are read when they are asked for."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> NetworkProfile:
        """Read a profile.

        Raises:
            ProfileError: unreadable, not JSON, or not an object.
        """
        return cls(path, load_profile(path).content)

    def organisation_of(self, peer: str) -> str:
        """The organisation whose peer it is."""
        for name, entry in self.content.get("organizations", {}).items():
            if peer in entry.get("peers", ()):
                return str(name)
        raise ProfileError(f"{self.path}: no organisation names the peer {peer}")

    def msp_id(self, organisation: str) -> str:
        """MSP id of an organisation."""
        return str(self._entry("organizations", organisation, "mspid"))

    def peer(self, name: str) -> Peer:
        """A peer with its address and trust."""
        entry = self._entry("peers", name)
        address = str(self._entry("peers", name, "url")).removeprefix("grpcs://")
        host, colon, port = address.rpartition(":")
        if "://" in address or not (host and colon and port.isdigit()):
            raise ProfileError(
                f"peer {name} in {self.path}: url must read host:port or grpcs://host:port; a node "
                "is reached over TLS only"
            )
        trusted = self._bytes(self._entry("peers", name, "tlsCACerts"), f"tlsCACerts of {name}")
        options = entry.get("grpcOptions", {})
        override = options.get(_NAME_OVERRIDE) or options.get("ssl-target-name-override", "")
        organisation = self.organisation_of(name)
        endpoint = Endpoint(address, trusted, str(override))
        return Peer(name, organisation, self.msp_id(organisation), endpoint)

    def user(self, organisation: str, name: str) -> User:
        """A user with its key."""
        entry = self._entry("organizations", organisation, "users", name)
        certificate = self._bytes(entry.get("cert"), f"cert of {name}")
        key = self._bytes(entry.get("private_key"), f"private_key of {name}")
        msp_id = self.msp_id(organisation)
        signer = SigningIdentity.from_pem(msp_id, certificate, key)
        return User(name, organisation, msp_id, signer)

    def _entry(self, *names: str) -> Any:
        return field_of(self.path, self.content, *names)

    def _bytes(self, entry: Any, what: str) -> bytes:
        if isinstance(entry, str):
            return self._read(entry, what)
        if isinstance(entry, dict) and "path" in entry:
            return self._read(str(entry["path"]), what)
        if isinstance(entry, dict) and "pem" in entry:
            pem = entry["pem"]
            text = "\n".join(pem) if isinstance(pem, list) else str(pem)
            if "-----BEGIN" in text:
                return text.encode()
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error:
                raise ProfileError(f"{self.path}: {what} is neither PEM nor base64") from None
        raise ProfileError(f"{self.path}: {what} needs a path or a pem")

    def _read(self, name: str, what: str) -> bytes:
        for path in (self.path.parent / name, Path(name)):
            if path.is_file():
                return path.read_bytes()
        raise ProfileError(
            f"{self.path}: {what} is {name}, which is neither beside the profile nor below the "
            "current folder"
        )
