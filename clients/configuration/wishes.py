"""What somebody wants changed, in the words of a command line, made to a configuration.

    --add-organisation NayaMSP=naya/msp   --remove-organisation NayaMSP
    --replace-ca BankMSP=bank/msp         --crl BankMSP=bank/msp/crls
    --anchor NayaMSP=naya.example:7051    --orderer-endpoint TelcoMSP=telco.example:7051
    --set-batch max_message_count=200     --acl event/Block=/Channel/Application/Admins
    --policy /Channel/Application/Endorsement="MAJORITY Endorsement"
    --capability application=V2_5         --ordering cometbft
    --consenter NayaMSP=naya.example:7052=naya/nodes/naya1   --remove-consenter NayaMSP
    --consenter-key NayaMSP=naya/nodes/naya1/consensus/next-cert.pem
    --consenter-address NayaMSP=naya.example:7152   --consenter-link NayaMSP=p2p-cert.pem

They are made in the order of the fields of `Wishes`, so a member may be added, given an address and
a consenter by one update. The consenter of a member that is removed goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from fabric_protos.common import configtx_pb2

from clients.configuration.update_file import read_file
from ledger.errors import Refusal
from network.certificates.consensus import CERTIFICATE, CONSENSUS_FOLDER, LINK_CERTIFICATE
from network.certificates.layout import DESCRIPTION_FILE, load_description
from network.configuration import (
    ChannelConfiguration,
    OrganisationSpec,
    consenter_edits,
    edits,
)
from network.configuration.values import read_endpoint
from network.msp import load_msp_folder

__all__ = ["Wishes"]

CONSENTER: Final = "NayaMSP=naya.example:7052=naya/nodes/naya1"


@dataclass(frozen=True, slots=True)
class Wishes:
    """Changes, each as it was written; see the module's docstring."""

    add_organisation: Sequence[str] = ()
    replace_ca: Sequence[str] = ()
    crl: Sequence[str] = ()
    anchor: Sequence[str] = ()
    orderer_endpoint: Sequence[str] = ()
    ordering: str = ""
    consenter: Sequence[str] = ()
    consenter_key: Sequence[str] = ()
    consenter_link: Sequence[str] = ()
    consenter_address: Sequence[str] = ()
    remove_consenter: Sequence[str] = ()
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
        self._change_consenters(config)
        for msp_id in self.remove_organisation:
            if consenter_edits.has_consenter(config, msp_id):
                consenter_edits.remove_consenter(config, msp_id)
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

    def _change_consenters(self, config: Any) -> None:
        if self.ordering:
            consenter_edits.set_engine(config, self.ordering)
        for msp_id, place in _pairs(self.consenter, CONSENTER):
            text, equals, folder = place.partition("=")
            if not equals:
                raise Refusal(
                    f"--consenter {msp_id}={place[:200]} lacks an address or a folder: write it "
                    f"like {CONSENTER}"
                )
            address = read_endpoint(text.strip(), msp_id)
            identity, link = _certificates(Path(folder.strip()))
            consenter_edits.add_consenter(config, msp_id, address, identity, link)
        for msp_id, place in _pairs(self.consenter_key, "NayaMSP=next-cert.pem"):
            consenter_edits.replace_consensus_certificate(config, msp_id, read_file(Path(place)))
        for msp_id, place in _pairs(self.consenter_link, "NayaMSP=p2p-cert.pem"):
            consenter_edits.replace_link_certificate(config, msp_id, read_file(Path(place)))
        for msp_id, text in _pairs(self.consenter_address, "NayaMSP=naya.example:7052"):
            consenter_edits.set_consenter_address(config, msp_id, read_endpoint(text, msp_id))
        for msp_id in self.remove_consenter:
            consenter_edits.remove_consenter(config, msp_id)


def _certificates(folder: Path) -> tuple[bytes, bytes]:
    """Return the consenter's two certificates in a folder, or in ``consensus`` below it."""
    if (folder / CONSENSUS_FOLDER).is_dir():
        folder = folder / CONSENSUS_FOLDER
    return read_file(folder / CERTIFICATE), read_file(folder / LINK_CERTIFICATE)


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
