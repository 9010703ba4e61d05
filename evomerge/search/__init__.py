"""The search: its space, its controllers, its archive, and the order in which it is told."""
