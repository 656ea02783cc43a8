"""Engine versions and parameter groups: what prevents an upgrade, and what follows it."""
