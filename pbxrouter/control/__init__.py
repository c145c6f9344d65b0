"""The unix socket through which the command line asks the running gateway."""
