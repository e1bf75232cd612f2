"""Nightly files: reading them row by row, refusing bad rows, and sending the good ones in bulk."""
