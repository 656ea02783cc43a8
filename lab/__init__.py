"""The lab: a whole local world for the program. Nothing of the product imports it."""
