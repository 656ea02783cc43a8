"""AWS: its clients, what its errors mean, clusters and DNS records as it has them."""
