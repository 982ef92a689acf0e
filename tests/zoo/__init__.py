"""Rate limiters of every kind, before a client in virtual time; ``python -m tests.zoo`` prints a table."""
