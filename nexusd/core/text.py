"""Foreign text made fit to be shown, stored and logged: names, and what providers say."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with whatever a terminal might obey escaped (`\\n`, `\\x1b`, `\\u202e`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str, most: int) -> str:
    """At most `most` printable characters: white space and line ends are one space, the rest is escaped."""
    line = printable(" ".join(text[: 10 * most].split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def strip_secret(text: str) -> str:
    """Return a secret without surrounding white space and byte-order marks.

    Editors and shells add them.
    """
    return text.strip().strip("\ufeff").strip()
