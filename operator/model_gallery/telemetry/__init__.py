"""Edge: metrics, logs, health, the HTTP server."""
