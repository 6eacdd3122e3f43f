"""Encoders of images and texts in one vector space, by models with two towers (CLIP, SigLIP)."""
