"""What a record means: the contract API, the simulator and the consortium's contracts."""
