"""Check that the generated pages of the reference are up to date."""

import pytest

from docs.reference import make


@pytest.mark.parametrize('name', make.pages())
def test_generated_pages_are_up_to_date(name):
    assert (make.FOLDER / name).read_text() == make.pages()[name], 'run python -m docs.reference.make'
