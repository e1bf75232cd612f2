"""World state, history and indexes in LevelDB."""
