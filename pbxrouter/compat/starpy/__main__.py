"""``python -m pbxrouter.compat.starpy PROGRAM [ARGUMENT…]``: runs an unchanged StarPy program on pbxrouter."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from pbxrouter.compat import starpy


def main() -> None:
    """Run the program named first, with ``import starpy`` leading here."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m pbxrouter.compat.starpy PROGRAM [ARGUMENT...]")
    sys.modules["starpy"] = starpy
    for name in ("fastagi", "error", "manager"):
        sys.modules[f"starpy.{name}"] = getattr(starpy, name)
    program = sys.argv[1]
    del sys.argv[0]
    sys.path[0] = str(Path(program).resolve().parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
