"""Pure functions from read/write sets and a state to codes, updates and the commit hash."""
