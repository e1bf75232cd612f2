"""A member's CometBFT as a process: its program, its folder and settings, its RPC, its health."""
