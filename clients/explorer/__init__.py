"""What stands in the chain, for people: blocks, transactions, histories of keys, conflicts."""
