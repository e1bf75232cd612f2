"""Who is in a network that `qist network create` makes: the four usual members, or a file's.

    channel_id = "qist"               # left out: qist
    ordering = "solo"                 # or "cometbft"
    orderers = ["OperatorMSP"]        # left out: the first operator, else the first member; with
                                      # cometbft all members

    [[members]]
    msp_id = "BankMSP"
    class = "bank"                    # bank, investment_firm, operator, manufacturer, regulator
    group = "bank"                    # affiliate group: a bank and its operator count once
    name = "First Bank"               # for people; may be left out
    host = "10.0.0.1"                 # where the others reach its node; left out: localhost
    terms_with = ["OperatorMSP"]      # of a lender: who else keeps its terms, beside the regulators
    identifiers_with = ["OperatorMSP"]  # and who the raw identifiers; left out: the usual ones

    [policy]                          # parameters that differ from the rulebook's defaults
    trigger_days_past_due = 45

    [batch]                           # as in the description of a channel

The consortium's contracts need a regulator, and members of two affiliate groups at least.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from chaincode.instalments.members import CLASSES, Member, check_member
from chaincode.instalments.policy import Policy, changed
from chaincode.instalments.verdicts import RuleBroken
from network.configuration import COMETBFT, SOLO
from nodes.cli.channel_description import (
    BatchDescription,
    ChannelId,
    MspId,
    refuse_strangers,
    refuse_twice,
)
from nodes.toml_file import Section

LOCALHOST = "localhost"
LENDERS = ("bank", "investment_firm", "operator")
"""Classes that may lend (docs/contracts.md, OpenAgreements)."""


class NetworkMember(Section):
    """A member of the network.

    Attributes:
        msp_id: its MSP id.
        member_class: bank, investment_firm, operator, manufacturer or regulator.
        group: its affiliate group.
        name: for people.
        host: by which the other members reach its node, which listens there.
        terms_with: of a lender: MSP ids of those who keep its terms beside itself and the
            regulators; None: the usual ones (nodes/cli/lender_collections.py).
        identifiers_with: the same of raw identifiers.
    """

    msp_id: MspId
    member_class: Annotated[str, Field(alias="class")]
    group: str
    name: str = ""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")] = LOCALHOST
    terms_with: tuple[MspId, ...] | None = None
    identifiers_with: tuple[MspId, ...] | None = None

    @model_validator(mode="after")
    def _only_lenders_have_collections(self) -> NetworkMember:
        if not self.may_lend and (self.terms_with or self.identifiers_with):
            raise ValueError(
                f"{self.msp_id} cannot lend, so nobody keeps terms or identifiers with it"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_contracts(self) -> NetworkMember:
        if self.member_class not in CLASSES:
            raise ValueError(f"class must be one of {', '.join(CLASSES)}")
        try:
            check_member(Member(self.msp_id, self.member_class, self.group, self.name))
        except RuleBroken as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def is_regulator(self) -> bool:
        """Whether it is of the class regulator."""
        return self.member_class == "regulator"

    @property
    def may_lend(self) -> bool:
        """Whether it may open agreements."""
        return self.member_class in LENDERS


class MembersDescription(Section):
    """The whole file."""

    channel_id: ChannelId = "qist"
    ordering: Literal["solo", "cometbft"] = SOLO
    orderers: tuple[MspId, ...] = ()
    members: tuple[NetworkMember, ...]
    policy: Mapping[str, Any] = {}
    batch: BatchDescription = BatchDescription()

    @field_validator("policy")
    @classmethod
    def _policy_is_known(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            changed(Policy(), value)
        except RuleBroken as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("members")
    @classmethod
    def _consortium(cls, value: tuple[NetworkMember, ...]) -> tuple[NetworkMember, ...]:
        refuse_twice([member.msp_id for member in value])
        if any(member.msp_id == "channel" for member in value):
            raise ValueError("a member cannot be named channel, as the channel's folder is")
        if not any(member.is_regulator for member in value):
            raise ValueError("no member is a regulator; enforcement needs one")
        if len({member.group for member in value}) < 2:
            raise ValueError("all members are of one affiliate group; endorsement needs two")
        if all(member.is_regulator for member in value):
            raise ValueError("all members are regulators; enforcement needs another class")
        return value

    @model_validator(mode="after")
    def _orderers_are_members(self) -> MembersDescription:
        known = [member.msp_id for member in self.members]
        refuse_strangers(self.orderers, known)
        for member in self.members:
            refuse_strangers(member.terms_with or (), known, f"terms_with of {member.msp_id}")
            refuse_strangers(
                member.identifiers_with or (), known, f"identifiers_with of {member.msp_id}"
            )
        return self

    @property
    def ordering_members(self) -> tuple[str, ...]:
        """MSP ids of the members that order.

        Unless the file says otherwise it is an operator: payments must go on, and cure, while a
        lender's bank or the regulator is away. With CometBFT it is everybody.
        """
        if self.ordering == COMETBFT and not self.orderers:
            return tuple(member.msp_id for member in self.members)
        operators = [m.msp_id for m in self.members if m.member_class == "operator"]
        return self.orderers or (*operators, self.members[0].msp_id)[:1]


USUAL_MEMBERS = MembersDescription(
    members=(
        NetworkMember(msp_id="BankMSP", member_class="bank", group="bank", name="Bank"),
        NetworkMember(
            msp_id="OperatorMSP", member_class="operator", group="operator", name="Operator"
        ),
        NetworkMember(msp_id="MakerMSP", member_class="manufacturer", group="maker", name="Maker"),
        NetworkMember(msp_id="PtaMSP", member_class="regulator", group="pta", name="PTA"),
    )
)
"""The four members of a network for which no file is given."""
