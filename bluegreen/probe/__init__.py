"""The probe: each thing that this program asks of PostgreSQL and AWS, tried once on a real one.

For whoever has an account where nobody has run the program yet. It reads, or rolls back; what has
to be committed to be tried is made, and removed again, only when that is asked for.
"""
