"""The PBX's time zone."""

from __future__ import annotations

import datetime

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.errors import ConfigError

SUMMER, WINTER = 1_784_023_200.0, 1_795_431_600.0  # 14 July and 23 November 2026, 10:00 and 11:00 UTC


class ZoneTests(SynchronousTestCase):
    """The PBX's wall clock."""

    def test_summer_and_winter(self) -> None:
        """Madrid is two hours ahead of UTC in summer, one in winter, and the way back fits."""
        madrid = Zone("Europe/Madrid")
        for seconds, hours in ((SUMMER, 2), (WINTER, 1)):
            local = madrid.local(seconds)
            self.assertEqual(local.utcoffset(), datetime.timedelta(hours=hours))
            self.assertEqual(madrid.seconds(local.replace(tzinfo=None)), seconds)

    def test_days_are_not_all_of_one_length(self) -> None:
        """The day on which summer time ends has 25 hours."""
        madrid = Zone("Europe/Madrid")
        noon = madrid.seconds(datetime.datetime(2026, 10, 25, 12))
        self.assertEqual(madrid.midnight(noon, 1) - madrid.midnight(noon), 25 * 3600)

    def test_no_such_zone(self) -> None:
        """The error about an unknown time zone names the setting."""
        for name in ("Europe/Nowhere", "../../etc/passwd"):
            self.assertIn("web.timezone", str(self.assertRaises(ConfigError, Zone, name)))

    def test_other_zone(self) -> None:
        """A zone can be changed to another; one that there is not changes nothing."""
        zone = Zone("Europe/Madrid")
        zone.set("Asia/Tokyo")
        self.assertEqual(zone.local(0.0).hour, 9)
        self.assertRaises(ConfigError, zone.set, "Europe/Nowhere")
        self.assertEqual(zone.local(0.0).hour, 9)

    def test_text(self) -> None:
        """The text is that of the local time, also where the offset changes, or has odd minutes."""
        for name, begins in (
            ("Europe/Madrid", 1_792_889_400),  # the end of summer time 2026
            ("Australia/Lord_Howe", 1_775_310_000),  # by half an hour
            ("Asia/Kathmandu", 1_792_889_400),
            ("Africa/Monrovia", 63_590_000),  # from -0:44:30 to 0
        ):
            zone = Zone(name)
            for seconds in range(begins, begins + 9000, 89):
                self.assertEqual(zone.text(seconds + 0.9), f"{zone.local(seconds):%Y-%m-%d %H:%M:%S}", name)
        self.assertEqual([Zone("UTC").text(seconds) for seconds in (-1e300, 1e300)],
                         ["1970-01-01 00:00:00", "9000-01-01 00:00:00"])  # fmt: skip

    def test_text_in_another_zone(self) -> None:
        """After a change of the zone times are in the new one."""
        zone = Zone("Europe/Madrid")
        texts = [zone.text(SUMMER)]
        zone.set("Asia/Tokyo")
        self.assertEqual([*texts, zone.text(SUMMER)], ["2026-07-14 12:00:00", "2026-07-14 19:00:00"])

    def test_the_systems_own(self) -> None:
        """Without a name it is the system's time zone."""
        self.assertEqual(Zone().seconds(Zone().local(SUMMER).replace(tzinfo=None)), SUMMER)

    def test_is_known(self) -> None:
        """A name is asked about; folders of the data and the empty name are none."""
        for name in ("UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires"):
            self.assertTrue(Zone.is_known(name), name)
        for name in ("Mars/Base", "", "Europe", "/etc/localtime", "x\0", "Europe/Madrid "):
            self.assertFalse(Zone.is_known(name), name)
