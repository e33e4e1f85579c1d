"""Where users come from: a file, a database, a directory, Dovecot, a class of your own. `contract.UserBackend` is what each of
them is."""
