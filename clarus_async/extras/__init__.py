"""What needs an optional dependency, and what only those who use one need; nothing else of ours imports them."""
