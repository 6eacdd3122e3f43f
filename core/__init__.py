"""The nouns and the errors that every other package speaks in. Standard library and numpy only."""
