"""What a clone must not have in force before it is closed: whatever works there by itself.

A clone boots with its source's jobs, minutes before anything can close it. A job of pg_cron that
runs there writes: the clone's data is another than its source's from then on, and the position that
replication starts from is not the one of the copy. A subscriber's worker would take the rows of its
source; sources that have subscriptions are refused, those of these libraries are not in the
catalogs. The target's own group, which a clone gets behind its closing, has what the user set.
"""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.upgrade import parameter_types
from bluegreen.upgrade.parameter_types import ParameterType

_LIBRARIES = "shared_preload_libraries"
_CRON = "pg_cron"
# pg_cron 1.5 and later: its launcher starts no job. Without a restart, which AWS may or may not
# offer in a group.
_NO_JOBS = "cron.launch_active_jobs"

WORKERS = frozenset({_CRON, "pg_partman_bgw", "pgactive", "pglogical"})
"""Libraries whose background workers write, or take rows from elsewhere."""


def until_closed(values: Mapping[str, str], types: Mapping[str, ParameterType]) -> dict[str, str]:
    """Return the desired `values` as a clone has them until it is closed; `types` are its family's.

    A parameter that is left out has its default, in which no such library is.
    """
    found = dict(values)
    libraries = [one.strip() for one in values.get(_LIBRARIES, "").split(",") if one.strip()]
    workers = WORKERS.intersection(libraries)
    if workers == {_CRON} and _switchable(types.get(_NO_JOBS)):
        return found | {_NO_JOBS: parameter_types.spelt("off", types[_NO_JOBS])}
    if workers:
        kept = ",".join(one for one in libraries if one not in workers)
        found.pop(_LIBRARIES)
        if kept:
            found[_LIBRARIES] = kept
    return found


def _switchable(type_: ParameterType | None) -> bool:
    return type_ is not None and type_.modifiable and not type_.static
