"""The API does what its OpenAPI document says: schemathesis compares them.

It is the program itself that is run, against a gateway's API on a port: from the document it makes
requests that should and that should not be accepted, sequences of them by the links, methods that are
not there, and requests without a token.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

from twisted.internet.threads import deferToThread

from pbxrouter.database.access.console_users import add_console_user
from pbxrouter.database.calls.history import add_calls
from pbxrouter.security.roles import Role
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.api.token_auth import LIMITS
from tests.api_fakes import ACTOR, ApiCase, a_call
from tests.needs import PATIENCE_S

SEED = "20261123"
EXAMPLES = "8"
LONGEST_S = 5 * PATIENCE_S

# All checks are on. What they expect is only said more exactly than by default:
# 422 is the answer to what the document allows and the rules of the thing do not (a pattern that is none, a
# name of blanks), so requests that fit the document may get it;
# 413 refuses what is too long as well as 400 would;
# whether a phone or an Asterisk of some name is there, no schema can say: originate says 400.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422"]

[[operations]]
include-path = "/api/originate"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "403"]
"""


class SchemaTests(ApiCase):
    """All endpoints, with generated requests."""

    timeout = 2 * LONGEST_S

    async def start(self) -> None:
        """Add calls to the history and a second admin, and lift the rate limits."""
        await super().start()
        await self.web.write(
            lambda connection: add_console_user(connection, ACTOR, 0, "maria", "no password", Role.ADMIN)
        )
        await self.web.write(lambda connection: add_calls(connection, map(a_call, range(60))))
        self.serve(self.web, dict.fromkeys(LIMITS, (1e9, 10**9)))

    async def test_schemathesis(self) -> None:
        """No check fails, and no endpoint is left out."""
        config = pathlib.Path(self.mktemp()).absolute()
        config.write_text(CONFIG, encoding="utf-8")
        document = pathlib.Path(f"{self.mktemp()}.json").absolute()
        document.write_bytes((await self.ask("GET", "/api/openapi.json", token="")).body)
        report = pathlib.Path(self.mktemp()).absolute()
        command = [
            str(pathlib.Path(sys.executable).with_name("st")),
            f"--config-file={config}",
            "run",
            # From a file: an address that the document comes from would not be tried itself.
            str(document),
            f"--url={self.url}",
            f"--header=Authorization: Bearer {self.token}",
            "--phases=examples,coverage,fuzzing,stateful",
            "--checks=all",
            f"--max-examples={EXAMPLES}",
            f"--seed={SEED}",
            "--generation-database=none",
            "--continue-on-failure",
            "--no-color",
            f"--report-dir={report}",
        ]
        done = await deferToThread(
            subprocess.run,
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_S,
            cwd=config.parent,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, rf"\n  Tested: {len(ENDPOINTS)}\n", done.stdout)
        made = re.search(r"\n  (\d+) generated", done.stdout)
        self.assertGreater(int(made[1]) if made else 0, 20 * len(ENDPOINTS), done.stdout)
