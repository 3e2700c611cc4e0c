"""The checks of a row's fields."""

from dataclasses import dataclass

from reprise.events.event import EVENT_TYPE_PATTERN, MAX_ID_LENGTH


@dataclass(frozen=True, slots=True)
class Check:
    """One way in which a field can be invalid.

    Attributes:
        field: The field of the event.
        sql: True if the value is invalid, over the columns ``v_<field>`` and ``raw_timestamp``.
        reason: The problem, for the counts.
        expected: What was expected, shown with a value.
    """

    field: str
    sql: str
    reason: str
    expected: str


def _id_checks(name: str) -> tuple[Check, Check]:
    value = f"v_{name}"
    invalid = f"length({value}) > {MAX_ID_LENGTH} OR contains({value}, chr(0))"
    expected = f"expected text of at most {MAX_ID_LENGTH} characters without NUL"
    return (
        Check(name, f"{value} IS NULL OR {value} = ''", "missing", "missing"),
        Check(name, invalid, "unusable", expected),
    )


_TIME_RANGE = (
    "v_timestamp < TIMESTAMPTZ '1900-01-01 00:00:00Z' OR v_timestamp >= TIMESTAMPTZ '2200-01-01 00:00:00Z'"
)

CHECKS: tuple[Check, ...] = (
    *_id_checks("event_id"),
    *_id_checks("user_id"),
    *_id_checks("product_id"),
    Check("timestamp", "nullif(raw_timestamp, '') IS NULL", "missing", "missing"),
    Check(
        "timestamp",
        "nullif(raw_timestamp, '') IS NOT NULL AND v_timestamp IS NULL",
        "unreadable",
        "expected an ISO 8601 date-time, an epoch number, or what --timestamp-format says",
    ),
    Check("timestamp", _TIME_RANGE, "implausible", "expected an instant between the years 1900 and 2200"),
    Check("event_type", "v_event_type IS NULL OR v_event_type = ''", "missing", "missing"),
    Check(
        "event_type",
        f"v_event_type <> '' AND NOT regexp_full_match(v_event_type, '{EVENT_TYPE_PATTERN}')",
        "not a name",
        "expected a name such as view or purchase; rename it with --event-type TYPE=VALUE",
    ),
    Check("amount", "isinf(v_amount)", "not a finite number", "expected a finite number, or nothing"),
    Check("amount", "v_amount < 0 AND NOT isinf(v_amount)", "negative", "expected a number of at least 0"),
    Check(
        "metadata",
        "v_metadata IS NOT NULL AND (NOT json_valid(v_metadata) OR json_type(v_metadata) <> 'OBJECT')",
        "not a JSON object",
        "expected a JSON object, or nothing",
    ),
)
"""All checks; a row's faults are the sum of ``1 << index`` over the checks that it fails."""
