"""Remote encoders, reached through the embedding API of Aleph Alpha, OpenAI or VikingDB.

`loading.load_remote` creates one from a `config.RemoteConfig`. Importing this package imports no HTTP library.
"""
