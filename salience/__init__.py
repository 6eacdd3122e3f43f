"""The public package for other programs: `salience.client`. It depends only on httpx and the standard library."""
