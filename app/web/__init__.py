"""The page that `salience serve` shows: files as they are sent to the browser. app.api.web serves them."""
