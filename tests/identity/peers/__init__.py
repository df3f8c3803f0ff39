"""Real peers of single sign-on, started by fixtures on loopback."""
