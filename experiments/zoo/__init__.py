"""The embedded zoo: tiny real language models to merge, and the recipe that makes them."""
