"""The definition of features that ``feature_repo/definitions.py`` contains."""

import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.features.discovery.featuretools_compat import suppress_warnings
from reprise.features.exceptions import DefinitionError


@dataclass(frozen=True)
class EntityDefinition:
    """The search space of Deep Feature Synthesis for one entity; primitives are instances of Featuretools'."""

    aggregations: Sequence[Any]
    transforms: Sequence[Any] = ()
    max_depth: int = 3  # how deep primitives may be stacked
    named: Mapping[str, str] = field(default_factory=dict)  # features always kept, by the names they get
    operands: Mapping[str, str] = field(default_factory=dict)  # features that only formulas read, by name


@dataclass(frozen=True)
class FormulaInput:
    """A request-time input: a formula of features by name, see ``reprise.features.formulas``."""

    formula: str  # reads inputs, operands, earlier formulas and ``timestamp_us``
    description: str
    unit: str = "ratio"


@dataclass(frozen=True)
class Definition:
    """Everything that decides which features there are."""

    frames: Mapping[str, str]  # event dataframe by event type; events of other types are ignored
    users: EntityDefinition  # features of users
    products: EntityDefinition  # features of products
    user_products: EntityDefinition  # features of user–product pairs
    request: Mapping[str, str]  # inputs taken from the request itself, by name: ``amount`` or ``is_purchase``
    formulas: Mapping[str, FormulaInput]  # request-time inputs by name
    latest_products: int = 100  # maximum length of the list of a user's products, for ranking
    max_inputs: int = 48  # maximum number of discovered features, besides the named ones
    duplicate_correlation: float = 0.995  # absolute rank correlation above which two features are duplicates


def load_definition(repository: Path) -> Definition:
    """Return ``DEFINITION`` of ``definitions.py`` in a feature repository's folder.

    Raises:
        DefinitionError: The file is missing, fails, or does not define ``DEFINITION``.
    """
    path = repository / "definitions.py"
    if not path.is_file():
        raise DefinitionError(f"{path}: not found; --repository names the folder that holds definitions.py")
    try:
        with suppress_warnings():
            definition = runpy.run_path(str(path)).get("DEFINITION")
    except Exception as error:
        raise DefinitionError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(definition, Definition):
        raise DefinitionError(f"{path}: must define DEFINITION, a {Definition.__module__}.Definition")
    return definition
