"""The configuration file: what may stand in it, how it is read, and what it says.

`schema` is the one table of keys, `values` what comes out, `reader` the walker between them, `apart` how the daemon has
it read, `files` what reads the files that a configuration names. `describe` writes the table down for people and
editors; nothing that runs imports it. This package itself imports none of them, so that each is had alone.
"""
