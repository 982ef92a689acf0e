"""How a tenant's rate limit is kept, and found where nobody tells it."""
