"""Data types, protocols and errors that all other packages share. Depends on the standard library and numpy only."""
