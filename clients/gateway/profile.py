"""Connection profiles in Fabric's JSON form: which gateways there are, and who one's users are.

Read: ``client.organization``, ``channels``, ``organizations.*.{mspid, peers, users}``,
``peers.*.{url, tlsCACerts, grpcOptions}``. Everything else is for other tools and passed over.
Paths in a profile are relative to its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clients.gateway.connection import Endpoint
from clients.gateway.errors import ProfileError
from network.msp import SigningIdentity


@dataclass(frozen=True, slots=True)
class ConnectionProfile:
    """A connection profile that was read and found well-formed.

    Attributes:
        path: the file.
        content: the JSON object as it stands in the file.
    """

    path: Path
    content: dict[str, Any]

    @property
    def msp_id(self) -> str:
        """The member for whom the profile was made."""
        name = self._field(self.content, "client", "organization")
        return str(self._field(self.content, "organizations", str(name), "mspid"))

    @property
    def channel_ids(self) -> tuple[str, ...]:
        """Channels named in the profile, in its order."""
        return tuple(self.content.get("channels", {}))

    def endpoints(self, msp_id: str = "") -> tuple[Endpoint, ...]:
        """Gateways of a member, in the profile's order; of the profile's own member by default."""
        organisation = self._organisation(msp_id or self.msp_id)
        return tuple(self.endpoint(str(name)) for name in self._field(organisation, "peers"))

    def stand_ins(self, msp_ids: Iterable[str]) -> tuple[Endpoint, ...]:
        """Gateways of other members, in the order of *msp_ids*."""
        return tuple(each for msp_id in msp_ids for each in self.endpoints(msp_id))

    def endpoint(self, peer: str) -> Endpoint:
        """The gateway named *peer*."""
        entry = self._field(self.content, "peers", peer)
        url = urlsplit(str(self._field(entry, "url")))
        if url.scheme != "grpcs" or not url.hostname or not url.port:
            raise ProfileError(
                f"peer {peer} in {self.path}: url must read grpcs://host:port; "
                "a node is reached over TLS only"
            )
        options = entry.get("grpcOptions", {})
        override = options.get("ssl-target-name-override") or options.get("hostnameOverride", "")
        trusted = self._content(self._field(entry, "tlsCACerts"), f"peer {peer}: tlsCACerts")
        return Endpoint(f"{url.hostname}:{url.port}", trusted, str(override))

    def user_names(self, msp_id: str = "") -> tuple[str, ...]:
        """Users whose keys the profile names."""
        return tuple(self._organisation(msp_id or self.msp_id).get("users", {}))

    def user(self, name: str, msp_id: str = "") -> SigningIdentity:
        """The identity and key of a user named in the profile.

        Raises:
            ProfileError: no such user, or its certificate or key is missing.
            ConfigurationError: certificate and key do not belong together.
        """
        msp_id = msp_id or self.msp_id
        users = self._organisation(msp_id).get("users", {})
        if name not in users:
            known = ", ".join(sorted(users)) or "none"
            raise ProfileError(f"{self.path} names no user {name!r} of {msp_id}; it names: {known}")
        certificate = self._content(self._field(users[name], "cert"), f"user {name}: cert")
        key = self._content(self._field(users[name], "private_key"), f"user {name}: private_key")
        return SigningIdentity.from_pem(msp_id, certificate, key)

    def _organisation(self, msp_id: str) -> dict[str, Any]:
        organisations = self._field(self.content, "organizations")
        for organisation in organisations.values():
            if organisation.get("mspid") == msp_id:
                found: dict[str, Any] = organisation
                return found
        raise ProfileError(f"{self.path} names no organisation with the MSP id {msp_id}")

    def _field(self, where: Any, *names: str) -> Any:
        return field_of(self.path, where, *names)

    def _content(self, entry: Any, place: str) -> bytes:
        """Bytes of a certificate or key: ``{"pem": …}``, ``{"path": …}``, or a bare path."""
        if isinstance(entry, str):
            return self._read(entry)
        if isinstance(entry, dict) and "pem" in entry:
            pem = entry["pem"]
            return "\n".join(pem).encode() if isinstance(pem, list) else str(pem).encode()
        if isinstance(entry, dict) and "path" in entry:
            return self._read(str(entry["path"]))
        raise ProfileError(f"{self.path}: {place} needs 'pem' or 'path'")

    def _read(self, name: str) -> bytes:
        path = self.path.parent / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise ProfileError(
                f"{self.path} names {path}, which cannot be read: {error.strerror}"
            ) from error


def field_of(path: Path, where: Any, *names: str) -> Any:
    """Return the value that stands below *where* under these names, one inside the other.

    Raises:
        ProfileError: there is none; the message names the file *path*.
    """
    for name in names:
        if not isinstance(where, dict) or name not in where:
            raise ProfileError(f"{path} lacks the field {'.'.join(names)}")
        where = where[name]
    return where


def load_profile(path: Path | str) -> ConnectionProfile:
    """Read a connection profile.

    Raises:
        ProfileError: unreadable, not JSON, or not an object.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ProfileError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ProfileError(f"{path} is not a connection profile: it must be a JSON object")
    return ConnectionProfile(path, content)
