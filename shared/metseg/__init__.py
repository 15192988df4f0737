"""metseg: a scan goes in, lesions come out; the domain that every service shares."""
