"""The contracts that belong to the node itself: `_lifecycle`, `qscc`, `cscc`."""
