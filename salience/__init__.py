"""What other programs import of Salience: `salience.client`. It stands alone, on httpx and the standard library."""
