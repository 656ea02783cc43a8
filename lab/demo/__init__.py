"""The life of a deployment, from nothing to a retired predecessor, under load."""
