"""One call: its permit, its attempts, and its telemetry; and what all calls of a client share."""
