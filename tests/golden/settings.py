"""Environment variables of every process."""

from collections.abc import Iterator
from functools import cache

from golden.installed import clean_environment, objects_of, package_of, scripts
from golden.text import as_text, numbered_schemas, without_prose
from reprise.runtime.settings import ProcessSettings


@cache
def settings_classes() -> dict[str, type[ProcessSettings]]:
    """Return the settings class of each console script that has one."""
    found = {}
    for name, script in scripts().items():
        package = package_of(script.module)
        classes = {each for _, each in objects_of(package, "Settings") if isinstance(each, type)}
        settings = {each for each in classes if issubclass(each, ProcessSettings)}
        own = {each for each in settings if package_of(each.__module__) is package}
        own = {each for each in own if not any(each in other.__mro__[1:] for other in own)}
        assert len(own) <= 1, f"{name} has {own}"
        found |= dict.fromkeys([name] if own else [], *own)
    return found


def settings() -> str:
    shared: dict[str, list[str]] = {}
    lines = []
    with clean_environment():
        own = {script: list(_variables(cls)) for script, cls in settings_classes().items()}
    for script, variables in own.items():
        for variable in variables:
            shared.setdefault(variable, []).append(script)
    for script, cls in settings_classes().items():
        keys = ("env_prefix", "extra", "frozen", "env_ignore_empty")
        lines.append(f"{script}: {as_text({key: cls.model_config.get(key) for key in keys})}")
        lines += [f"  {variable}" for variable in own[script] if len(shared[variable]) == 1]
    lines.append("shared")
    for variable, users in sorted(shared.items()):
        if len(users) > 1:
            lines += [f"  {variable}", "    " + " ".join(users)]
    return "\n".join(lines) + "\n"


def _variables(cls: type[ProcessSettings]) -> Iterator[str]:
    """Yield each variable with its default and its schema, in the order of the names."""
    schema = numbered_schemas(without_prose(cls.model_json_schema(by_alias=False)))
    fields = {variable: field for field, variable in cls.env_names().items()}
    for variable, field in sorted(fields.items()):
        info = cls.model_fields[field]
        default = "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
        described = sorted(schema["properties"][field].items())
        shape = [f"{key}={value}" for key, value in described if key != "default"]
        yield " ".join([variable, "=", default, "", *shape])
