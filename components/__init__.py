"""Component resources: they declare, and do no I/O."""
