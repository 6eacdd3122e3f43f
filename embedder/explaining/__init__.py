"""Perturbation-based explanations: which parts of a prompt matter for a target.

Each part is suppressed once, and the loss that this causes is its importance. The method is AtMan (Deb et al., "AtMan:
Understanding Transformer Predictions Through Memory Efficient Attention Manipulation", 2023). The objective defines
what is measured: similarity.py for encoders, crossentropy.py for causal language models. The two answer different
questions, so a result names its objective.
"""
