"""What a run wrote down before it sent, and after."""
