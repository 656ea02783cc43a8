"""What the writer sends: publications and replica identities."""
