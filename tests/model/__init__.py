"""A model of the switch, small enough to explore every interleaving of its parties."""
