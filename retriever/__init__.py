"""The read path: a query, its two legs, their fusion, and the reasons."""
