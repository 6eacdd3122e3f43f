"""A collection that is made anew beside itself, while it is searched and written to.

The other generation is a collection row of its own, with documents, passages and terms, under a hidden name: everything
that reads or writes a collection works on it as it is. What follows is new: every commit notes which documents it
touched (`following`), whoever fills the hidden one strikes these out in the transaction that brings them there
(`pending`), and one transaction changes the names (`switching`).
"""
