"""Engine versions and parameter groups: what stops an upgrade, and what it leaves."""
