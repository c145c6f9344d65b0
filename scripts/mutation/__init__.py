"""Mutation testing: changes one place of the core at a time and looks whether a related test fails.

`targets` says which modules and which tests belong together; `finder`, `statements`, `expressions` and
`literals` make the mutants of a file; `source` edits its text; `worker` runs tests in a forked process,
`pool` several of those; `baseline` learns which test reaches which line; `accepted` reads the survivors
that are right; `command` is `make mutants`.
"""
