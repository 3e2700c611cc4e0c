"""SQL that cleans text and reads numbers."""

from dataclasses import dataclass

from reprise.events.event import NUMBER_PATTERN

INTEGERS = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
FLOATS = frozenset(("FLOAT", "DOUBLE"))

_BLANK = r"[\s\v\p{Z}\x{200b}\x{feff}]"
_MISSING = (
    r"null|<null>|\(null\)|nan|none|\(none\)|nat|n/?a|<na>|nil|undefined|\(not set\)|\\n|[-?]+|\."
    r"|#(n/a|null!|ref!|value!|name\?|div/0!)"  # of spreadsheets and SPSS
)


@dataclass(frozen=True, slots=True)
class Expression:
    """SQL of a field, and the assumption about all its values, if any.

    Of a timestamp, ``naive`` is whether it lacks a zone, and ``doubt`` why its number is not read: ``unit`` or ``era``.
    """

    sql: str
    note: str | None = None
    naive: str = "false"
    doubt: str = "CAST(NULL AS VARCHAR)"


def cleaned(value: str) -> str:
    """Return SQL of a value as text without blanks around it; null if it is blank or spells a missing value."""
    text = f"CAST({value} AS VARCHAR)"
    return rf"""
        CASE WHEN regexp_full_match({text}, '(?i){_BLANK}*({_MISSING})?{_BLANK}*') THEN NULL
             WHEN regexp_matches({text}, '^{_BLANK}|{_BLANK}$')
             THEN regexp_replace({text}, '^{_BLANK}+|{_BLANK}+$', '', 'g') ELSE {text} END
    """


def number(text: str) -> str:
    """Return SQL of a number or a text in ASCII digits as ``DOUBLE``; null if it is none, such as ``1_000``."""
    written = f"regexp_full_match(CAST({text} AS VARCHAR), '{NUMBER_PATTERN}')"
    return f"CASE WHEN {written} THEN TRY_CAST({text} AS DOUBLE) END"
