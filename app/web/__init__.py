"""The static files of the web page, served by app.api.web."""
