"""What the standby applies: subscriptions and their tables."""
