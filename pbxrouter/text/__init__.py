"""Sentences and text that people read: translatable sentences, printable text, CSV cells."""

from pbxrouter.text.csv_cells import csv_line, csv_lines, safe_text
from pbxrouter.text.file_text import file_text
from pbxrouter.text.printable import cut, log_field, printable
from pbxrouter.text.sentences import MAX_VALUE, Sentence, fits, joined, read_sentence, sentence

__all__ = [
    "MAX_VALUE",
    "Sentence",
    "csv_line",
    "csv_lines",
    "cut",
    "file_text",
    "fits",
    "joined",
    "log_field",
    "printable",
    "read_sentence",
    "safe_text",
    "sentence",
]
