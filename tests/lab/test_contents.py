"""The comparison of two servers' tables, on the schema zoo: no table of it is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.workload import contents
from tests.fixtures.databases import Database
from tests.fixtures.zoo import make_zoo, stored_tables, write_zoo


@pytest.mark.parametrize("major", [pytest.param(16, marks=pytest.mark.slow), 18])
def test_a_change_of_any_table_of_the_zoo_is_a_difference(
    make_database: Callable[..., Database], major: int
) -> None:
    with make_database(major).connect() as here, make_database(major).connect() as there:
        for conn in (here, there):
            make_zoo(conn)
        assert contents.differences(here, there) == []
        write_zoo(here, 1, keyless=True)
        found = {one.table for one in contents.differences(here, there)}
        assert found == set(stored_tables(here))
