"""Tokens: how they are obtained (RFC 6749), refreshed, and shared between processes."""
