"""The real Pulumi engine for the lab: found, downloaded, or built, and made able to run Python."""
