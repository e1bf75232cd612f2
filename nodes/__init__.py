"""How a member runs a node: the only place that wires the other packages together."""
