"""The commands of `kubectl model`, one module for each group; each is a function of a Session."""
