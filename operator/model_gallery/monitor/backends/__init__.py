"""One module per kind of backend: which requests are harmless there, and what the answers mean.

Each has `recognise`, `probe` and `unload`; the routes at its top are all that it ever asks. None of those
that only look loads, wakes or generates anything.
"""
