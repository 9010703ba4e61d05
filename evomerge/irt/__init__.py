"""Item response theory: a task's items calibrated once, then few items stand for all."""
