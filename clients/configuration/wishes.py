"""What somebody wants changed, in the words of a command line, made to a configuration.

    --add-organisation NayaMSP=naya/msp   --remove-organisation NayaMSP
    --replace-ca BankMSP=bank/msp         --crl BankMSP=bank/msp/crls
    --anchor NayaMSP=naya.example:7051    --orderer-endpoint TelcoMSP=telco.example:7051
    --set-batch max_message_count=200     --acl event/Block=/Channel/Application/Admins
    --policy /Channel/Application/Endorsement="MAJORITY Endorsement"
    --capability application=V2_5

They are made in the order of the fields of `Wishes`, so a member may be added and given an address
by one update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fabric_protos.common import configtx_pb2

from clients.configuration.update_file import read_file
from ledger.errors import Refusal
from network.certificates.layout import DESCRIPTION_FILE, load_description
from network.configuration import ChannelConfiguration, OrganisationSpec, edits
from network.configuration.values import read_endpoint
from network.msp import load_msp_folder

__all__ = ["Wishes"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Changes, each as it was written; see the module's docstring."""

    add_organisation: Sequence[str] = ()
    replace_ca: Sequence[str] = ()
    crl: Sequence[str] = ()
    anchor: Sequence[str] = ()
    orderer_endpoint: Sequence[str] = ()
    remove_organisation: Sequence[str] = ()
    set_batch: Sequence[str] = ()
    policy: Sequence[str] = ()
    acl: Sequence[str] = ()
    capability: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wanted."""
        return not any(getattr(self, field.name) for field in fields(self))

    def made_to(self, current: ChannelConfiguration) -> Any:
        """Return the configuration in force as it is to be.

        Raises:
            Refusal: a wish is not of its form, or cannot be fulfilled.
        """
        config = configtx_pb2.Config()
        config.CopyFrom(current.config)
        for each in self.add_organisation:
            msp_id, folder = _member_and_folder(each)
            spec = OrganisationSpec(msp_id, load_msp_folder(folder, msp_id))
            edits.add_member(config, spec)
        for msp_id, place in _pairs(self.replace_ca, "BankMSP=bank/msp"):
            edits.replace_msp(config, msp_id, load_msp_folder(Path(place), msp_id))
        for msp_id, place in _pairs(self.crl, "BankMSP=bank/msp/crls"):
            edits.add_revocation_lists(config, msp_id, _lists(Path(place)))
        for msp_id, addresses in _addresses(self.anchor):
            edits.set_anchor_peers(config, msp_id, addresses)
        for msp_id, addresses in _addresses(self.orderer_endpoint):
            edits.set_orderer_endpoints(config, msp_id, addresses)
        for msp_id in self.remove_organisation:
            edits.remove_member(config, msp_id)
        if self.set_batch:
            edits.set_batch(config, dict(_pairs(self.set_batch, "max_message_count=200")))
        for path, rule in _pairs(self.policy, "/Channel/Application/Endorsement=ANY Endorsement"):
            edits.set_policy(config, path, rule)
        for resource, policy in _pairs(self.acl, "event/Block=/Channel/Application/Readers"):
            edits.set_acl(config, resource, policy)
        for level, name in _pairs(self.capability, "application=V2_5"):
            edits.set_capability(config, level, name)
        return config


def _pairs(texts: Sequence[str], example: str) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Refusal(f"{text[:200]!r} is not of the form NAME=VALUE: write it like {example}")
        yield name.strip(), value.strip()


def _member_and_folder(text: str) -> tuple[str, Path]:
    """Read MSPID=FOLDER, or the folder of an organisation, which says whose it is."""
    name, equals, value = text.partition("=")
    if equals:
        return name.strip(), Path(value.strip())
    folder = Path(text)
    if not (folder / DESCRIPTION_FILE).exists():
        raise Refusal(
            f"{text[:200]!r} does not say which member it is: write MSPID=FOLDER with its public "
            "MSP folder, or give the folder that `qist org create` has made"
        )
    return load_description(folder).msp_id, folder / "msp"


def _lists(place: Path) -> list[bytes]:
    """Return the revocation lists in a file, or in the files of a folder."""
    if place.is_dir():
        return [read_file(each) for each in sorted(place.iterdir()) if each.is_file()]
    return [read_file(place)]


def _addresses(texts: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Return all addresses that are given for each member."""
    found: dict[str, list[tuple[str, int]]] = {}
    for msp_id, address in _pairs(texts, "BankMSP=bank.example:7051"):
        found.setdefault(msp_id, []).append(read_endpoint(address, msp_id))
    yield from found.items()
