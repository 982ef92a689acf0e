"""What to do next: pure decisions. Time, randomness and ids are arguments."""
