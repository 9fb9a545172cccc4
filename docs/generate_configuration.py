"""Writes the table of keys in configuration.md from the settings: `python docs/generate_configuration.py`.

A test fails while the page and the settings differ.
"""

from __future__ import annotations

from pathlib import Path

from nexusd.settings.showing import reference

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- keys: begin -->\n", "<!-- keys: end -->\n"


def generated(page: str) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{reference()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text()))
