"""Single sign-on with peers that others wrote."""
