"""DNS for the lab: the Route 53 zones and the clusters' endpoints, on a loopback port."""
