"""Children as plain dicts: Jobs, ConfigMaps, claims."""
