"""Views over envelopes and read/write sets, and the codes of their validation; bytes stay as received."""
