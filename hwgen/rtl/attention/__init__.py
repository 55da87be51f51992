"""Attention: stages that hand on what they know of a visit, one visit each at a time."""
