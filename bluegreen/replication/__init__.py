"""From the writer to the standby: slots, heartbeats, sequences, coverage."""
