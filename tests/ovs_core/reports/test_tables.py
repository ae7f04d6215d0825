"""The tables of all projects as data, and the choice of their rows."""

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.reports.tables import Row, Table, find_table, list_tables

TABLE = Table(
    "a table",
    (Row("first", "a"), Row("x", "a", group="x"), Row("y", "a", group="y"), Row("last", "a")),
    groups=("y",),
)


@pytest.mark.parametrize("name", list_tables())
def test_every_row_of_every_table_is_a_config_on_one_dataset(name):
    table = list_tables()[name]
    assert table.summary and table.choose().rows
    assert len({row.title for row in table.rows}) == len(table.rows)
    # A printed table has a row per model and dataset: one dataset of each model is enough.
    rows = {row.model or row.title: row for row in table.rows if row.config}.values()
    assert all(row.reason for row in table.rows if not row.config)
    sets = {load_cfg(find_config(row.config), row.options).DATASETS.TEST for row in rows}
    assert all(len(names) == 1 for names in sets)
    assert len(sets) == 1 or not table.pictures


def test_rows_are_chosen_by_group_beside_those_that_are_always_there():
    assert [row.title for row in TABLE.choose().rows] == ["first", "y", "last"]
    assert [row.title for row in TABLE.choose(["x"]).rows] == ["first", "x", "last"]
    with pytest.raises(UserError, match="--modes: 'z' is unknown.* Choices: x, y"):
        TABLE.choose(["z"], key="--modes")


def test_a_misspelt_table_is_named():
    with pytest.raises(
        UserError, match="table: 'hclip/tinny' is unknown. Did you mean 'hclip/tiny'"
    ):
        find_table("hclip/tinny")
