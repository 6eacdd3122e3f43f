"""The command line. Commands import what they need only when they run, so `salience --help` loads no model."""
