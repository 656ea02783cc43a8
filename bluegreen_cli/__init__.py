"""The command `bluegreen`: outside the library, which knows nothing of stacks."""
