"""Causal language models: completing a prompt, and evaluating how likely a given continuation is."""
