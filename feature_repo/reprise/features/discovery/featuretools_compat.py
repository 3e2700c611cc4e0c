"""Featuretools, without its and woodwork's warnings about their own dependencies.

Nobody here can act on those. Import ``ft`` from here rather than Featuretools itself: it warns when it is imported.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Silence, for the block, what Featuretools and woodwork warn about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(featuretools|woodwork)\.")
        yield


with suppress_warnings():
    import featuretools as ft

__all__ = ["ft", "suppress_warnings"]
