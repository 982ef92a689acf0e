"""What a failure proves, and when an attempt is made again."""
