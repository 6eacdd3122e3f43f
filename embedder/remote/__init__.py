"""Encoders that run elsewhere, behind the embedding API of Aleph Alpha, OpenAI or VikingDB.

`load_remote(RemoteConfig(...), name)` gives one. Importing this package imports no HTTP library.
"""
