"""The commands that talk to a node as a client does; `qist.py` mounts them, see its `_COMMANDS`."""
