"""Configurations of mergekit, read into plans of the merge engine.

Only the format is mergekit's (https://github.com/arcee-ai/mergekit). Pure: plain data in, values
and located problems out; `run.merging` opens files and models.
"""
