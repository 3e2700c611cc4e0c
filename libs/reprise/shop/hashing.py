"""Pseudo-random numbers computed from what they belong to, so that hidden constants need no storage."""

import numpy as np
import numpy.typing as npt

from reprise.shop.columns import Floats, Indices

Words = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def mix(words: Words) -> Words:
    """Return the words after splitmix64's finaliser, a bijection (Steele, Lea and Flood, 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def combined_key(*parts: int) -> int:
    """Return one 64-bit number that depends on every part and on their order."""
    state = 0
    for part in parts:
        word = np.array([((state ^ (part & _MASK)) + _GOLDEN) & _MASK], dtype=np.uint64)
        state = int(mix(word)[0])
    return state


def hashed_words(key: int, index: Indices) -> Words:
    """Return one pseudo-random 64-bit word per index, distinct for distinct indices."""
    spread = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return mix(spread ^ np.uint64(key))


def hashed_uniform(key: int, index: Indices) -> Floats:
    """Return one pseudo-random number in (0, 1) per index."""
    return ((hashed_words(key, index) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def hashed_normal(key: int, index: Indices) -> Floats:
    """Return one approximately normal number (mean 0, deviation 1, within ±3.5) per index.

    It is the sum of four 16-bit uniforms (Irwin–Hall), which is accurate enough for a hidden factor.
    """
    words = hashed_words(key, index)
    low = np.uint64(0xFFFF)
    total = (words & low) + ((words >> np.uint64(16)) & low)
    total += ((words >> np.uint64(32)) & low) + (words >> np.uint64(48))
    normal: Floats = ((total.astype(np.float64) + 2.0) / 65536.0 - 2.0) * np.sqrt(3.0)
    return normal
