"""The rows of the table of merge methods, by kin; `merge.methods` puts them together."""
