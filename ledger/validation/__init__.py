"""Pure functions from read/write sets and a state to validation codes, updates and the commit hash."""
