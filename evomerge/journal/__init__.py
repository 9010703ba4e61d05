"""The append-only record of a run: what happened, in order, durable before anyone acts on it."""
