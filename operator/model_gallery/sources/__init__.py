"""Edge: one module per kind of source; a reference in, revision and files out."""
