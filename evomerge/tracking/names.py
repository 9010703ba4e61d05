"""Names that MLflow accepts, and the way back."""

import re
from collections.abc import Iterable

_LIMIT = 250
# MLflow takes letters, digits, _ - . space : and /, and reads / and . as parts of a path.
_REFUSED = re.compile(r"[^A-Za-z0-9_\-. :]")


def sanitise(names: Iterable[str]) -> dict[str, str]:
    """Each name with one that MLflow accepts: unlike names stay unlike.

    `acc,none` becomes `acc_none`; when that is taken, `acc_none_2`. Invert the mapping for the way
    back.
    """
    accepted: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = _plain(name)
        unique, n = plain, 1
        while unique in taken:
            n += 1
            unique = f"{plain}_{n}"
        taken.add(unique)
        accepted[name] = unique
    return accepted


def _plain(name: str) -> str:
    plain = _REFUSED.sub("_", name)[: _LIMIT - 30].strip(". ")
    return plain or "_"
