"""The engine `solo`: one member's node orders, the others follow it.

`engine.py` lets a node do one or the other. `cutter.py` decides where a block ends, `building.py`
makes one, `sequencer.py` orders. `follower.py` takes the
sequencer's committed blocks, which it asks for as `seek.py` writes, and forwards this node's
envelopes by the stream of `broadcast.py`.

The engine tolerates no lying sequencer and no dead one: while it is away nothing can be submitted,
and the other nodes say so. What it cannot do unseen is change a result: every follower validates
for itself, compares, and halts at the first difference.
"""

from network.ordering.solo.engine import CONSENSUS_TYPE, SoloEngine
from network.ordering.solo.follower import Follower
from network.ordering.solo.sequencer import Sequencer

__all__ = ["CONSENSUS_TYPE", "Follower", "Sequencer", "SoloEngine"]
