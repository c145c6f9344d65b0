"""Looking for what is wrong with an installation, and saying what to change.

Nothing is changed by looking.
"""

from pbxrouter.doctor.examine import examine
from pbxrouter.doctor.finding import (
    Finding,
    unknown,
    well,
    wrong,
)

__all__ = [
    "Finding",
    "examine",
    "unknown",
    "well",
    "wrong",
]
