"""Private data of a node: who may have them, how they travel, and what happens where they lack.

In the block stand hashes; the plain write sets travel between members' nodes, by mutual TLS:

    endorsement   the endorser keeps them (`transient`) and pushes them to entitled members'
                  nodes (`distribution`) before it signs
    commit        the committer takes them from the transient store, pulls what lacks from entitled
                  members, and verifies hashes (`gather`, `pulling`)
    afterwards    what still lacks is asked for in the background (`reconciler`)

`access` says who is entitled, `service` is the side that is asked, `digests` are the messages,
`room` puts it together for one node.
Invariant: nothing is sent to a member that the collection's policy does not name.
"""
