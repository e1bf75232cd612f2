"""How a member runs a node: the only place that wires the other packages together."""

import os

# gRPC's core writes lines of its own to standard error, where a node's log is one JSON object a
# line, and reads this when it is first imported. An operator who wants them sets another value.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
