"""The edge of every RPC of a node: failures with details, limits, and handlers that never fall."""
