"""Causal language models: continuing a prompt, and judging how likely a continuation is."""
