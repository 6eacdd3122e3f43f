"""Encoders that run elsewhere, behind the embedding API of Aleph Alpha, OpenAI or VikingDB.

`loading.load_remote` makes one of a `config.RemoteConfig`. Importing this package imports no HTTP library.
"""
