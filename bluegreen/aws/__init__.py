"""AWS: clients, the meaning of its errors, and its clusters and DNS records."""
