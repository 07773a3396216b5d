"""The command line: argument parsing only."""


def main() -> int:
    """Runs the command that the arguments name; returns the exit code."""
    return 0
