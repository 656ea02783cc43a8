"""From the writer to the standby: slots, heartbeats, sequences, what is covered."""
