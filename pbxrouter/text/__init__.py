"""Sentences and text that people read: translatable sentences, printable text, CSV cells."""

from pbxrouter.text.asterisk_names import MAX_ASTERISK_NAME, at_asterisk, is_asterisk_name, split_asterisk
from pbxrouter.text.csv_cells import csv_line, csv_lines, safe_text
from pbxrouter.text.file_text import file_text
from pbxrouter.text.printable import cut, log_field, printable
from pbxrouter.text.sentences import MAX_VALUE, Sentence, fits, joined, read_sentence, sentence

__all__ = [
    "MAX_ASTERISK_NAME",
    "MAX_VALUE",
    "Sentence",
    "at_asterisk",
    "csv_line",
    "csv_lines",
    "cut",
    "file_text",
    "fits",
    "is_asterisk_name",
    "joined",
    "log_field",
    "printable",
    "read_sentence",
    "safe_text",
    "sentence",
    "split_asterisk",
]
