"""What a command does: wire the rooms together, run the loop, read the journal."""
