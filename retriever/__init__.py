"""The search path: query parsing, dense and sparse retrieval, fusion, and explanations."""
