"""Which channels can be replayed, and which are refused by name.

A peer of Fabric 2.5 or 3.x judges a channel by the rules that its capabilities name. We have the
rules of application capability V2_0 and later; a channel that demands less, or something that no
such peer knows, would be judged by rules that are not here.

Source: Fabric, common/capabilities, core/peer/channel.go `capabilitiesSupportedOrPanic`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.errors import Refusal
from network.configuration import ChannelConfiguration
from network.configuration.update import verify_config_envelope
from nodes.committer.endorsement import Unsatisfied

__all__ = ["UnsupportedChannel", "follow_update", "verify_rules", "verify_supported"]

APPLICATION_RULES = frozenset({"V2_0", "V2_5"})
KNOWN = {
    "channel": frozenset({"V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0", "QIST_REHEARSAL"}),
    "application": frozenset(
        {
            "V1_1",
            "V1_2",
            "V1_3",
            "V1_4_2",
            "V2_0",
            "V2_5",
            "V1_1_PVTDATA_EXPERIMENTAL",
            "V1_1_RESOURCETREE_EXPERIMENTAL",
        }
    ),
}
"""Names that Fabric's peer takes for known, by level; it does not look at the orderer's."""


class UnsupportedChannel(Refusal):
    """The channel follows rules that are not here, or that no peer of Fabric 2.5 or 3.x knows."""


def verify_supported(configuration: ChannelConfiguration, block_num: int) -> None:
    """Check that we have the rules by which blocks under *configuration* are judged.

    Raises:
        UnsupportedChannel: we have not; the message names what is demanded.
    """
    capabilities = configuration.capabilities
    for level, known in KNOWN.items():
        demanded: frozenset[str] = getattr(capabilities, level)
        if unknown := sorted(demanded - known):
            raise UnsupportedChannel(
                f"the configuration of block {block_num} demands the {level} capability "
                f"{', '.join(unknown)}, which no peer of Fabric 2.5 or 3.x has: this channel "
                "cannot be replayed"
            )
    if not capabilities.application & APPLICATION_RULES:
        raise UnsupportedChannel(
            f"the configuration of block {block_num} demands the application capabilities "
            f"{sorted(capabilities.application)}; transactions are judged by older rules than "
            "those of V2_0, which are not here: only channels at V2_0 or V2_5 from their genesis "
            "block on can be replayed"
        )


def verify_rules(block_num: int, unsatisfied: Mapping[int, Unsatisfied]) -> None:
    """Check that no verdict of a block hangs on rules that a plugin would bring.

    Args:
        block_num: the block.
        unsatisfied: why writes do not stand, by the transaction's place.
    Raises:
        UnsupportedChannel: one does; without its plugin a peer would have stopped there.
    """
    for place, failure in sorted(unsatisfied.items()):
        if failure.level == "plugin":
            raise UnsupportedChannel(
                f"block {block_num}, transaction {place}: contract {failure.namespace!r} is "
                f"validated by the plugin {failure.policy.decode()!r}, whose rules are not here; "
                "only channels with the default validation (vscc) can be replayed"
            )


def follow_update(current: ChannelConfiguration, config_envelope: bytes) -> ChannelConfiguration:
    """Return the configuration that follows, as a committing peer checks it.

    Raises:
        ConfigurationError, PolicyError: it may not follow.
        UnsupportedChannel: it demands rules that are not here.
    """
    following = verify_config_envelope(current, config_envelope)
    verify_supported(following, -1)
    return following
