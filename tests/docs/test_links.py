"""The links of the pages that are no part of the site lead to files that are there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('page', sorted(path.name for path in ROOT.glob('*.md')))
def test_links_lead_to_files(page):
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', (ROOT / page).read_text())
    assert not [link for link in links if not (ROOT / link).exists()]
