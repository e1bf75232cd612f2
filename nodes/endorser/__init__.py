"""The endorser: checks a proposal, runs the contract on a snapshot, signs what came out.

Read `proposals` (what a proposal says), `admission` (who may propose, and when), `endorser` (the
run and the signature), `service` (gRPC on the node port), in this order.
"""
