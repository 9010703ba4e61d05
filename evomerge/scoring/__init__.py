"""The resident model, lm-eval's benchmarks built once, and the scorers of their items."""
