"""The workload: real clients that write by the DNS name, and the proof that nothing was lost."""
