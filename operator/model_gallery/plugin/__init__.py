"""Program: `kubectl model`. Reads and writes Models and Galleries for a person at a shell."""
