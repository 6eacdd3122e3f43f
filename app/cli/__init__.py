"""The command line. Every command imports what it needs when it runs: `salience --help` loads no model."""
