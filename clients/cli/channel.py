"""``qist channel fetch|show|propose|sign|submit``: a channel's configuration, and its changes.

A member proposes a change; as many sign the file as the policies of what is changed ask for, each
having seen in words what it does; somebody submits it. What is in force is asked of the member's
own node, never of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.calling import Caller, command
from clients.cli.channel_options import (
    Acl,
    AddOrganisation,
    Anchor,
    Capability,
    ConsenterAddress,
    ConsenterKey,
    ConsenterLink,
    Consenters,
    Crl,
    OrdererEndpoint,
    Ordering,
    Policy,
    RemoveConsenter,
    RemoveOrganisation,
    ReplaceCa,
    SetBatch,
)
from clients.configuration.in_force import configuration_block, submit_update
from clients.configuration.update_file import UpdateFile, load_block, read_file
from clients.configuration.wishes import Wishes
from clients.explorer.chain import NEWEST
from ledger.blocks.block import Block
from ledger.errors import Refusal
from network.certificates.writing import write_new
from network.configuration import (
    Change,
    ChannelConfiguration,
    compute_update,
    describe_changes,
)
from network.configuration.agreement import Agreement, preview_update, read_agreement
from network.configuration.consenters import COMETBFT, SAFE_CONSENTERS
from network.configuration.description import configuration_lines, describe_block
from network.configuration.edited import decode_edited, encode_for_editing
from network.configuration.edits import verify_access
from network.configuration.succession import verify_may_follow
from network.errors import ConfigurationError, IdentityError
from network.msp import SigningIdentity

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The genesis block and the configuration of a channel, and how it is changed.",
)

InForce = Annotated[
    Path | None,
    typer.Option("--block", help="The configuration in force, fetched; else a node is asked."),
]
UpdatePath = Annotated[Path, typer.Argument(metavar="FILE", help="The update.")]


@command(app, "fetch")
def fetch(
    caller: Caller,
    which: Annotated[str, typer.Argument(help="config, newest, oldest, or a number.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where it is written.")],
) -> None:
    """Fetch the block of the configuration in force, or another block, into a file."""
    chain = caller.chain
    if which == "config":
        block = configuration_block(chain)
    elif which in ("newest", "oldest"):
        block = chain.block(NEWEST if which == "newest" else 0)
    elif which.isascii() and which.isdigit() and len(which) < 20:
        block = chain.block(int(which))
    else:
        raise Refusal(f"{which[:40]!r} is no block: give config, newest, oldest, or a number")
    write_new(out, block.encode())
    digest = block.header.hash().hex()
    caller.terminal.result(
        {"file": str(out), "block_num": block.number, "header_hash": digest},
        [f"block {block.number} is in {out}, header hash {digest}"],
    )


@command(app, "show", alone=True)
def show(
    caller: Caller,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|NODE]",
            help="A configuration block, an update, or a node's folder for its genesis block; "
            "left out: what is in force, asked of the member's node.",
        ),
    ] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="As JSON that can be edited, for propose --from.")
    ] = False,
    block: InForce = None,
) -> None:
    """Show a configuration, or what an update would change and who must still sign it."""
    if source is not None and source.is_file():
        update = UpdateFile.decode(read_file(source))
        if update is not None:
            current = _in_force(caller, block)
            _show_update(caller, source, update, current)
            return
    found = load_block(source) if source is not None else _block_in_force(caller, block)
    if edit:
        typer.echo(encode_for_editing(ChannelConfiguration.from_block(found)), nl=False)
        return
    value = describe_block(found)
    caller.terminal.is_rehearsal = value["rehearsal"]
    caller.terminal.result(value, configuration_lines(value))


@command(app, "propose", alone=True)
def propose(
    caller: Caller,
    out: Annotated[Path, typer.Option(help="Where the update is written.")],
    edited: Annotated[
        Path | None, typer.Option("--from", help="An edited configuration; see show --edit.")
    ] = None,
    add_organisation: AddOrganisation = None,
    remove_organisation: RemoveOrganisation = None,
    replace_ca: ReplaceCa = None,
    crl: Crl = None,
    anchor: Anchor = None,
    orderer_endpoint: OrdererEndpoint = None,
    ordering: Ordering = "",
    consenter: Consenters = None,
    consenter_key: ConsenterKey = None,
    consenter_link: ConsenterLink = None,
    consenter_address: ConsenterAddress = None,
    remove_consenter: RemoveConsenter = None,
    set_batch: SetBatch = None,
    acl: Acl = None,
    policy: Policy = None,
    capability: Capability = None,
    block: InForce = None,
) -> None:
    """Make an update of the configuration in force, to be signed by those who must agree."""
    wishes = Wishes(
        add_organisation=add_organisation or (),
        replace_ca=replace_ca or (),
        crl=crl or (),
        anchor=anchor or (),
        orderer_endpoint=orderer_endpoint or (),
        ordering=ordering,
        consenter=consenter or (),
        consenter_key=consenter_key or (),
        consenter_link=consenter_link or (),
        consenter_address=consenter_address or (),
        remove_consenter=remove_consenter or (),
        remove_organisation=remove_organisation or (),
        set_batch=set_batch or (),
        policy=policy or (),
        acl=acl or (),
        capability=capability or (),
    )
    if wishes.is_empty == (edited is None):
        raise Refusal(
            "say what is to change, by options or by --from with an edited configuration, and not "
            "by both; see `qist channel propose --help`"
        )
    current = _in_force(caller, block)
    config = (
        wishes.made_to(current)
        if edited is None
        else decode_edited(current, read_file(edited).decode("utf-8", "replace"))
    )
    made = compute_update(current.channel_id, current.config, config)
    update = UpdateFile(current.channel_id, made.SerializeToString(deterministic=True))
    _look_ahead(caller, current, update)
    update.save(out, new=True)
    _show_update(caller, out, update, current)


def _look_ahead(caller: Caller, current: ChannelConfiguration, update: UpdateFile) -> None:
    """Look at what would come of an update before anybody is asked to sign it.

    Raises:
        Refusal: it could not follow the configuration in force.
    """
    following = ChannelConfiguration(
        current.channel_id, preview_update(current, update.config_update)
    )
    verify_may_follow(current, following)
    verify_access(following)
    if caller.has_profile:
        _note_exclusion(caller, current, following)
    consenters = len(following.consenters)
    if following.consensus_type == COMETBFT and consenters < SAFE_CONSENTERS:
        caller.terminal.note(
            f"with {consenters} consenters none of them may be down or lie: have "
            f"{SAFE_CONSENTERS} at least"
        )


@command(app, "sign")
def sign(
    caller: Caller,
    file: UpdatePath,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without being asked again.")] = False,
    block: InForce = None,
) -> None:
    """Show what an update changes, and add the signature of the user to it."""
    update = UpdateFile.load(file)
    current = _in_force(caller, block)
    signer = caller.signer
    _verify_signer(caller, current, signer)
    signed = update.signed_by(signer)
    changes = _changes(current, update, file)
    before = read_agreement(current, update.config_update, update.signatures)
    if not yes:
        _ask(caller, changes, signer)
    signed.save(file, new=False)
    after = read_agreement(current, signed.config_update, signed.signatures)
    if after.demands == before.demands and not before.is_complete:
        caller.terminal.note(
            f"the signature of {signer.common_name} of {signer.msp_id} satisfies none of the "
            "policies: have those sign who are lacking"
        )
    _print_update(caller, file, signed, changes, after)


@command(app, "submit")
def submit(
    caller: Caller,
    file: UpdatePath,
    wait: Annotated[
        float, typer.Option(min=0.1, help="Seconds until the node must have the block.")
    ] = 60.0,
) -> None:
    """Send an update to be ordered, and wait until the configuration is in force."""
    update = UpdateFile.load(file)
    current = _in_force(caller, None)
    _changes(current, update, file)
    agreement = read_agreement(current, update.config_update, update.signatures)
    if not agreement.is_complete:
        raise Refusal(_too_few(file, agreement))
    signer = caller.signer
    _verify_signer(caller, current, signer)
    done = submit_update(
        caller.gateway, caller.chain, update, signer, now=_now(caller), timeout_s=wait
    )
    sequence, number = done.configuration.sequence, done.block.number
    caller.terminal.result(
        {
            "channel_id": update.channel_id,
            "sequence": sequence,
            "block_num": number,
            "header_hash": done.block.header.hash().hex(),
        },
        [f"configuration {sequence} of {update.channel_id} is in force since block {number}"],
    )


def _now(caller: Caller) -> datetime:
    return datetime.now(UTC) if caller.clock is None else caller.clock()


def _block_in_force(caller: Caller, block: Path | None) -> Block:
    if block is not None:
        return load_block(block)
    if not caller.has_profile:
        raise Refusal(
            "the configuration in force is asked of a node: give --profile and --user, or its "
            "block with --block, as `qist channel fetch config` writes it"
        )
    return configuration_block(caller.chain)


def _in_force(caller: Caller, block: Path | None) -> ChannelConfiguration:
    found = ChannelConfiguration.from_block(_block_in_force(caller, block))
    caller.terminal.is_rehearsal = found.is_rehearsal
    return found


def _changes(current: ChannelConfiguration, update: UpdateFile, file: Path) -> list[Change]:
    """Return what an update changes of the configuration in force.

    Raises:
        Refusal: it is for another channel, or was made of another configuration.
    """
    if update.channel_id != current.channel_id:
        raise Refusal(
            f"{file} is an update of channel {update.channel_id[:249]}, and the node keeps channel "
            f"{current.channel_id}: ask a node of that channel, or propose the change here"
        )
    try:
        return describe_changes(current.config, preview_update(current, update.config_update))
    except ConfigurationError as reason:
        raise Refusal(
            f"{file} does not fit configuration {current.sequence} of {current.channel_id}, which "
            f"is in force; if it was made of an older one, or is in force already, propose what is "
            f"still wanted anew: {reason}"
        ) from reason


def _verify_signer(caller: Caller, current: ChannelConfiguration, signer: SigningIdentity) -> None:
    who = f"{signer.common_name} of {signer.msp_id}"
    try:
        current.msps.deserialize(signer.serialized)
    except IdentityError as reason:
        raise Refusal(
            f"channel {current.channel_id} does not take the identity of {who}: {reason}"
        ) from reason
    if signer.not_after <= _now(caller):
        raise Refusal(
            f"the certificate of {who} has expired on {signer.not_after:%Y-%m-%d}: have it renewed "
            "with `qist org renew`"
        )


def _note_exclusion(
    caller: Caller, current: ChannelConfiguration, following: ChannelConfiguration
) -> None:
    """Say so if the user would be let in no more: nobody else may be able to undo that."""
    signer = caller.signer
    try:
        current.msps.deserialize(signer.serialized)
    except IdentityError:
        return
    try:
        following.msps.deserialize(signer.serialized)
    except IdentityError as reason:
        caller.terminal.note(
            f"after this change the channel does not take {signer.common_name} of {signer.msp_id} "
            f"any more: {reason}"
        )


def _ask(caller: Caller, changes: Sequence[Change], signer: SigningIdentity) -> None:
    if not sys.stdin.isatty():
        raise Refusal(
            "look at the update with `qist channel show`, and give --yes where nobody can be asked"
        )
    for line in _change_lines(changes):
        caller.terminal.note(line)
    who = f"{signer.common_name} of {signer.msp_id}"
    if not typer.confirm(f"sign this as {who}?", err=True):
        raise Refusal("nothing was signed")


def _show_update(
    caller: Caller, file: Path, update: UpdateFile, current: ChannelConfiguration
) -> None:
    changes = _changes(current, update, file)
    agreement = read_agreement(current, update.config_update, update.signatures)
    _print_update(caller, file, update, changes, agreement)


def _print_update(
    caller: Caller,
    file: Path,
    update: UpdateFile,
    changes: Sequence[Change],
    agreement: Agreement,
) -> None:
    value: dict[str, Any] = {
        "file": str(file),
        "channel_id": update.channel_id,
        "changes": [
            {"path": each.path, "before": each.before, "after": each.after} for each in changes
        ],
        "signatures": [
            {"msp_id": each.msp_id, "name": each.name, "fault": each.fault}
            for each in agreement.signatures
        ],
        "demands": [
            {
                "policy": each.policy,
                "elements": list(each.elements),
                "lacking": list(each.lacking),
            }
            for each in agreement.demands
        ],
        "complete": agreement.is_complete,
    }
    lines = [
        f"update of channel {update.channel_id} in {file}",
        *_change_lines(changes),
        *_agreement_lines(agreement),
    ]
    caller.terminal.result(value, lines)


def _change_lines(changes: Sequence[Change]) -> Iterator[str]:
    for each in changes:
        if each.before is None:
            yield f"+ {each.path}: {each.after}"
        elif each.after is None:
            yield f"- {each.path}: {each.before}"
        else:
            yield f"~ {each.path}: {each.before} -> {each.after}"


def _agreement_lines(agreement: Agreement) -> Iterator[str]:
    for each in agreement.signatures:
        fault = f", which does not count: {each.fault}" if each.fault else ""
        yield f"signed by {each.name or '(unreadable)'} of {each.msp_id or '?'}{fault}"
    lacking = [line for demand in agreement.demands for line in demand.lacking]
    for line in dict.fromkeys(lacking):
        yield f"lacking: {line}"
    if not lacking:
        yield "complete: it may be submitted"


def _too_few(file: Path, agreement: Agreement) -> str:
    lacking = dict.fromkeys(line for demand in agreement.demands for line in demand.lacking)
    faults = [
        f"the signature of {each.name} of {each.msp_id} does not count: {each.fault}"
        for each in agreement.signatures
        if each.fault
    ]
    return (
        f"{file} is not signed by enough members: {'; '.join([*lacking, *faults])}; "
        "have them sign it with `qist channel sign`"
    )
