"""Measure explanations: whether they are faithful, whether they add up, and what they cost."""
