"""Runs on many machines: shards, leases, and their coordinator."""
