"""The HTTP API and the command line: the only package that deals with HTTP, the environment and the terminal."""
