"""The command line, one command a file; what a command computes stands in another room."""
