"""scripts/setup-venv on a Python that Debian ships without pip: the locked pip is fetched, and checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.needs import PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent
LOCKED = re.findall(r"sha256:([0-9a-f]{64})", (ROOT / "requirements" / "pip.txt").read_text(encoding="utf-8"))


class FetchPipTests(SynchronousTestCase):
    """scripts/fetch-pip, against a package index of the test's own."""

    def setUp(self) -> None:
        """Start an index on loopback."""
        self.pages: dict[str, bytes] = {}
        pages = self.pages

        class Index(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.index = f"http://127.0.0.1:{server.server_port}/simple"
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def offer(self, *files: Mapping[str, object]) -> None:
        """Let the index list these files."""
        self.pages["/simple/pip/"] = json.dumps({"files": files}).encode()

    def fetch(self) -> tuple[int, str]:
        """Run the script: its exit status and what it wrote to stderr."""
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "fetch-pip", self.folder],
            env={**os.environ, "PIP_INDEX_URL": self.index, "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stderr

    def test_other_bytes(self) -> None:
        """A file whose bytes are not the locked ones is refused, also if the index confirms its hash."""
        self.offer({"filename": "pip-1-py3-none-any.whl", "url": "../../f.whl", "hashes": {"sha256": LOCKED[0]}})
        self.pages["/f.whl"] = b"something else"
        status, told = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn("is not the file that", told)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_only_other_versions(self) -> None:
        """An index without a locked wheel is named; its other files and source archives are left alone."""
        self.offer(
            {"filename": "pip-9-py3-none-any.whl", "url": "../../f.whl", "hashes": {"sha256": "0" * 64}},
            {"filename": "pip-1.tar.gz", "url": "../../f.tar.gz", "hashes": {"sha256": LOCKED[0]}},
        )
        status, told = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn(f"{self.index}/pip/ has no wheel that", told)

    def test_no_index(self) -> None:
        """An index that answers with an error, or with another format, is named with what went wrong."""
        status, told = self.fetch()
        self.assertEqual(status, 1)
        self.assertIn(f"fetch-pip: {self.index}/pip/: HTTP Error 404", told)
        self.pages["/simple/pip/"] = b"<html></html>"
        status, told = self.fetch()
        self.assertEqual((status, "Traceback" in told), (1, False))
        self.assertIn(f"fetch-pip: {self.index}/pip/: ", told)
