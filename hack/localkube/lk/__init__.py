"""localkube: a real single-node Kubernetes in a network namespace of its own."""
