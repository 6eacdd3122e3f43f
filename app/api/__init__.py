"""The HTTP endpoints: each parses its input, makes one call and wraps the result."""
