"""Check that the tables of the results follow from the stored evaluations."""

import pytest

from docs.results import make


@pytest.mark.parametrize('page', sorted({table.page for table in make.TABLES.values()}))
def test_tables_are_up_to_date(page):
    assert (make.FOLDER / page).read_text() == make.pages()[page], 'run python -m docs.results.make'
