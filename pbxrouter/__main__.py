"""`python -m pbxrouter` is the command `pbxrouter`."""

from pbxrouter.cli import main

main()
