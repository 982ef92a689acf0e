"""The shell: sockets, tokens, turns and retries around the decisions of ``policy`` and ``ratelimit``."""
