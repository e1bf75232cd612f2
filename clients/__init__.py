"""How people and programs reach a node: SDK, command line, bulk import, audit, rehearsal."""
