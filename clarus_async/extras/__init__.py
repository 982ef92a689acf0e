"""What needs an optional dependency; each module names its extra."""
