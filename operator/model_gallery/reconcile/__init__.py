"""Core: what the cluster should look like. Observed values in, decisions and conditions out."""
