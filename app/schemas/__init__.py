"""The JSON of the native API: one module a subject, over `base`. What a search is asked and answers is `search_request`
and `search_response`."""
