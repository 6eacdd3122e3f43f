"""The JSON bodies of the native API: one module per subject, on top of `base`.

The request and response of a search are in `search_request` and `search_response`.
"""
