"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class ShopError(RepriseError):
    """Root of this package's errors."""


class InvalidShopError(ShopError):
    """A setting of the shop is out of its range; says which, its value, and what was expected."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}: expected {expected}, got {value}")
