"""Sentences and text that people read: translatable sentences, printable text, CSV cells."""
