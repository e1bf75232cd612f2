"""How people and programs reach a node: gateway SDK, command line, bulk import, audit, rehearsal."""
