"""Who may speak, and in what order: identities, policies, channel configuration, ordering, TLS."""
