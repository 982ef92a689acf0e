"""Rate limiters of every kind, and a client in virtual time in front of them. ``python -m tests.zoo`` prints a table."""
