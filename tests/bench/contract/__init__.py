"""The contract of the benchmark, and nothing of the consortium's."""
