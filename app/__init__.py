"""The doors: HTTP API and command line. The only package that knows HTTP, the environment and the terminal."""
