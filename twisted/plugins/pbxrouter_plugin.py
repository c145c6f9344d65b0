"""Makes ``twistd pbxrouter`` known; all else is in pbxrouter.tap."""

from twisted.application.service import ServiceMaker

pbxrouter = ServiceMaker(
    "pbxrouter", "pbxrouter.tap", "A call router for Asterisk (FastAGI, rules, PINs).", "pbxrouter"
)
