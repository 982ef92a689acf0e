"""Creates in doubt: looked up, and settled."""
