"""Edge: the volume. Layout, the only file writer, staging, receipts, publishing."""
