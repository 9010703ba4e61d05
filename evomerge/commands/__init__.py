"""The commands, a small file for each kind: parse, call `run`, print."""
