"""Explanations measured: whether they are true, add up, and what they cost."""
