"""Models on disk: opened as memory-mapped safetensors, compared, fingerprinted, written.

Sources are only ever read. Nothing here runs code that comes with a model.
"""
