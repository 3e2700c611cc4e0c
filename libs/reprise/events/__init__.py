"""The event: its fields, its JSON, its identity and its order."""

from reprise.events.event import CANARY_PREFIX as CANARY_PREFIX
from reprise.events.event import ArrivalWindow as ArrivalWindow
from reprise.events.event import EarlyEventError as EarlyEventError
from reprise.events.event import Event as Event
from reprise.events.event import InvalidEventError as InvalidEventError
from reprise.events.event import LateEventError as LateEventError
from reprise.events.event import decode_event as decode_event
from reprise.events.event import encode_event as encode_event
from reprise.events.event import event_from_fields as event_from_fields
from reprise.events.event import event_key as event_key
from reprise.events.event import format_timestamp as format_timestamp
from reprise.events.event import is_canary as is_canary
from reprise.events.event import json_object as json_object
from reprise.events.event import parse_timestamp as parse_timestamp
