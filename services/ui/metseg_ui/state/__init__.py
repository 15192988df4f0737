"""What outlives one run of the script: the session, the URL's parameters, and cached answers of the gateway."""
