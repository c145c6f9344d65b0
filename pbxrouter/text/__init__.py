"""Sentences and text that people read: translatable sentences, printable text, CSV cells."""

from pbxrouter.text.csv_cells import csv_line
from pbxrouter.text.file_text import file_text
from pbxrouter.text.printable import cut, log_field, printable
from pbxrouter.text.sentences import Sentence, joined, read_sentence, sentence

__all__ = [
    "Sentence",
    "csv_line",
    "cut",
    "file_text",
    "joined",
    "log_field",
    "printable",
    "read_sentence",
    "sentence",
]
