"""Featuretools without its and woodwork's warnings about their own dependencies, on which we cannot act.

Import ``ft`` from here: importing Featuretools warns too.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warnings of Featuretools and woodwork inside the block."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(featuretools|woodwork)\.")
        yield


with suppress_warnings():
    import featuretools as ft

__all__ = ["ft", "suppress_warnings"]
