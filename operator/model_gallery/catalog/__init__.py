"""Core: what could be installed. Index text in, entries, problems and install requests out."""
