"""Tokens: who asks for them, and who shares them (RFC 6749)."""
