"""Run with ``twistd -ny tac/pbxrouter.tac``; reads pbxrouter.toml in the working directory."""

from twisted.application.service import Application

from pbxrouter.tap import Options, makeService

application = Application("pbxrouter")
makeService(Options()).setServiceParent(application)
