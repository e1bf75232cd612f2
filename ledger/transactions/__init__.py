"""Views over envelopes and read/write sets, whose bytes stay as received; validation codes."""
