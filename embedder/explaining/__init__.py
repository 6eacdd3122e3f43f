"""Which parts of a prompt matter for a target: each part is suppressed once, and the loss is its importance.

The method is AtMan (Deb et al., "AtMan: Understanding Transformer Predictions Through Memory Efficient Attention
Manipulation", 2023). What is measured is the objective's business: similarity.py for encoders, crossentropy.py for
causal language models. A result names its objective; the two are different questions.
"""
