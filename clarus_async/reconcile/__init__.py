"""Creates in doubt: what is pending, what follows from it, how it is looked up, and how one record is settled."""
