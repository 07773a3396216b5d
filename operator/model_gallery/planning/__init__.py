"""Core: what the volume should look like. Wanted files and a snapshot in, a plan out."""
