"""Workers: one resident model each, behind one contract: a job in, item scores or a failure out."""
