"""What leaves the house: a model folder with its card, and the merge as a mergekit file."""
