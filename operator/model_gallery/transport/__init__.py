"""Edge: HTTP. Which targets are allowed, and one client for indexes and model files."""
