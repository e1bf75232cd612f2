"""The consortium's contracts: instalments, defaults and releases under written rules."""
