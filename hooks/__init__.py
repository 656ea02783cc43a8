"""Runtime hooks of the program."""
