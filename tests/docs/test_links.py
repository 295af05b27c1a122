"""Check the links of the pages outside of the site, such as the README; mkdocs checks those of the site."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('page', sorted(path.name for path in ROOT.glob('*.md')))
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', (ROOT / page).read_text())
    assert not [link for link in links if not (ROOT / link).exists()]
