"""Merging: the methods as records of stages, and their application tensor by tensor.

No input or output happens here: tensors come from a `records.TensorSource` and go to a mapping of
live parameters, or out of an iterator.
"""
