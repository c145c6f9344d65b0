"""What the process writes that makes CSV of the history; tests.web.test_csv_export starts it."""

from __future__ import annotations

import io
from pathlib import Path

from pbxrouter.config import Zone
from pbxrouter.database.calls import CallsCsv, CsvOrder, Search, add_calls, find_calls
from pbxrouter.database.calls.csv_process import AT_ONCE, read_order, write_calls
from pbxrouter.errors import ConfigError, DatabaseMissing
from tests.database.calls.test_history import row
from tests.database.postgresql import OnBothEngines


class CsvProcessTests(OnBothEngines):
    """write_calls on a database."""

    def test_order(self) -> None:
        """An order comes back as it was."""
        order = CsvOrder("/a b/ñ.sqlite", Search("3*", since=1.5, forwarded_by="'\udcff"), 7, "Europe/Madrid", True)
        self.assertEqual(read_order(order.packed()), order)

    def test_all_that_are_wanted(self) -> None:
        """All calls of the search up to the limit, as the history command has them; without calls the heading."""
        place = self.new_place()
        csv = CallsCsv(Zone("Asia/Tokyo"), bom=True)
        connection = self.open(place)
        add_calls(connection, (row(float(second), str(second % 2)) for second in range(2 * AT_ONCE + 5)))
        for search, limit in (
            (Search(), 10**6),
            (Search(caller="1"), 10**6),
            (Search(), AT_ONCE),
            (Search(), AT_ONCE + 1),
            (Search(caller="9"), 10**6),
        ):
            output = io.BytesIO()
            write_calls(CsvOrder.of(place, search, limit, "Asia/Tokyo", True), output)
            lines = csv.heading() + csv.lines(find_calls(connection, search, limit))
            self.assertEqual(output.getvalue().decode(), lines, (search, limit))

    def test_what_cannot_be_read(self) -> None:
        """It fails before a line is written."""
        output = io.BytesIO()
        order = CsvOrder(str(Path(self.mktemp()).absolute()), Search(), 1)
        self.assertRaises(DatabaseMissing, write_calls, order, output)
        self.assertRaises(ConfigError, write_calls, CsvOrder(order.database, Search(), 1, "Mars/Base"), output)
        self.assertEqual(output.getvalue(), b"")
