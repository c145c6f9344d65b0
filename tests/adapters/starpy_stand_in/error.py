"""The failures of the stand-in's commands and actions."""


class AGICommandFailure(Exception):
    """An AGI command failed; the arguments are a code and Asterisk's words."""


class AMICommandFailure(Exception):
    """An AMI action failed; the argument is the response."""
