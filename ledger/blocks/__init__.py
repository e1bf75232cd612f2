"""Blocks: header, data, metadata and hashes; segment files and their index."""
