"""One call: its permit, its attempts, and what is told of it."""
