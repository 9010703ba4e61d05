"""The experiment file: its types, its strict YAML, and reading it with every problem located."""
