"""What needs an optional dependency, each in a module of its own; nothing else of ours imports them."""
