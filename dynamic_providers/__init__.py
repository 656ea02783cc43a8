"""Dynamic resources, one file each: properties to dataclass to one call into `bluegreen`."""
