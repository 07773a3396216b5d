"""Program: the operator process."""
