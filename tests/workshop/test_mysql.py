"""Dumps by MySQL and MariaDB are read as those by SQLite."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ImportRefused
from pbxrouter.workshop.mysql import is_mysql_dump, sqlite_text
from pbxrouter.workshop.sql import read_sql

HEADS = {
    "mariadb": "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.4.2-MariaDB, for Debian\n",
    "mysql": "-- MySQL dump 10.13  Distrib 8.4.0, for Linux (x86_64)\n--\n-- Host: localhost    Database: workshop\n",
    "phpmyadmin": '-- phpMyAdmin SQL Dump\n-- version 5.2.1\n\nSET SQL_MODE = "NO_AUTO_VALUE_ON_ZERO";\n',
    "with its database": "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `workshop`;\nUSE `workshop`;\n-- MySQL dump 10.13\n",
}
COLUMNS = {
    "applications_mappings": "`map_id` int NOT NULL AUTO_INCREMENT,\n"
    "  `application_name` varchar(255) COMMENT 'it''s, (one)',\n"
    "  `application_data` varchar(255) DEFAULT NULL,\n  pattern varchar(255),\n  PRIMARY KEY (`map_id`),\n"
    "  UNIQUE KEY `pattern` (`pattern`)",
    "extensions": "`extension_id` int,\n  `extension_number` varchar(255) CHARACTER SET latin1",
    "extensions_mappings": "`ext_map_id` int,\n  `extension_id` int,\n  `map_id` int,\n"
    "  CONSTRAINT `fk` FOREIGN KEY (`map_id`) REFERENCES `applications_mappings` (`map_id`) ON DELETE CASCADE",
    "users": "`user_id` int,\n  `user_name` varchar(255),\n  `user_pin` int(11)",
    "users_mappings": "`usr_map_id` int,\n  `user_id` int,\n  `map_id` int",
}
ROWS = {
    "applications_mappings": "VALUES (1,'dial','SIP','2X'),\n(2,'playback','it\\'s \\\"so\\\"\\\\; really','3X')",
    "extensions": "VALUES (1,'033')",
    "extensions_mappings": "VALUES (1,1,1)",
    "users": "(`user_id`, `user_name`, `user_pin`)"
    " VALUES (1,_utf8mb4 'Mois\u00e9s',012345),(2,_binary \"O''B \"\"x\",123456)",
    "users_mappings": "VALUES (1,2,2)",
}


def dump(head: str) -> str:
    """A dump with this beginning."""
    text = f"{head}/*!40101 SET NAMES utf8mb4 */;\nSET @OLD = @@X; # a comment; with '\n"
    for table, columns in COLUMNS.items():
        text += f"DROP TABLE IF EXISTS `{table}`;\n"
        text += f"CREATE TABLE `{table}` (\n  {columns}\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;\n"
        text += f"LOCK TABLES `{table}` WRITE;\n/*!40000 ALTER TABLE `{table}` DISABLE KEYS */;\n"
        text += f"INSERT {'IGNORE ' if table == 'users' else ''}INTO `{table}` {ROWS[table]};\nUNLOCK TABLES;\n"
    return f"{text}ALTER TABLE `users` ADD PRIMARY KEY (`user_id`);\nCOMMIT;\n-- Dump completed\n"


class MysqlTests(SynchronousTestCase):
    """What they hold."""

    def test_each_program(self) -> None:
        """The rows, with their texts and digits as they were, whoever has written the dump."""
        for program, head in HEADS.items():
            tables = read_sql(dump(head))
            self.assertEqual([data for _, _, data, _ in tables.mappings], ["SIP", 'it\'s "so"\\; really'], program)
            self.assertEqual([number for _, number in tables.extensions], ["033"], program)
            self.assertEqual([name for _, name, _ in tables.users], ["Mois\u00e9s", "O''B \"x"], program)
            self.assertEqual([pin for _, _, pin in tables.users], ["012345", "123456"], program)

    def test_errors_name_the_line(self) -> None:
        """A statement that cannot be read is named by its line in the dump."""
        text = dump(HEADS["mysql"])
        line = text[: text.index("INSERT INTO `extensions` ")].count("\n") + 1
        error = self.assertRaises(ImportRefused, read_sql, text.replace("(1,'033')", "(1,'033',7)"))
        self.assertIn(f"line {line}: ", str(error))
        self.assertEqual(sqlite_text(text).count("\n"), text.count("\n"))

    def test_others(self) -> None:
        """A dump by SQLite is none of these, whatever its values say."""
        self.assertFalse(is_mysql_dump("INSERT INTO users VALUES (1, '-- MySQL dump', 2);\n"))
        self.assertFalse(is_mysql_dump("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"))

    def test_numbers_in_hexadecimal(self) -> None:
        """A value of --hex-blob is the bytes that it stands for; a word that only looks like a character set stays."""
        self.assertEqual(
            sqlite_text("INSERT INTO `a` VALUES (_binary 0x4142, 0x4142, _a, NULL);"),
            ("INSERT INTO \"a\" VALUES ( X'4142', X'4142', _a, NULL);"),
        )

    @given(st.text())
    def test_strings(self, text: str) -> None:
        """Any text comes through as MySQL writes it."""
        escapes = {"\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", "'": "\\'", '"': '\\"', "\\": "\\\\"}
        written = "".join(escapes.get(sign, sign) for sign in text)
        expected = "'" + text.replace("'", "''") + "'"
        self.assertEqual(
            sqlite_text(f"INSERT INTO t VALUES ('{written}');").strip("\n"),
            f"INSERT INTO t VALUES ({expected});".strip("\n"),
        )
        self.assertEqual(sqlite_text(f"SET {text}").strip("\n"), "")
