"""Transformations of the graph, one per file; pipeline.py lists them in order."""
