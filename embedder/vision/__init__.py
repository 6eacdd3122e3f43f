"""Images and texts to vectors of one space, by a network with two towers (CLIP, SigLIP)."""
