"""The screenshots of the page in the README: ``python -m tests.helpers.screenshots`` makes them again.

It serves the page over the pretrained models, and needs Chromium; the tests take the same two of a small page.
"""

import pathlib
import shutil
import tempfile

from etils import epath
from playwright.sync_api import sync_playwright

from jaxgen.apps import stored_config
from jaxgen.apps.demo import page
from jaxgen.apps.devices import set_up

DOCS = pathlib.Path(__file__).parents[2] / 'docs'
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
SIZE = {'width': 1280, 'height': 800}
PATIENCE = 300_000  # milliseconds
CONFIG = 'pretrained/ddpm_cifar/config.json'


def take(browser, url, folder):
    """Write ``demo_generate.png``, with new samples, and ``demo_edit.png``, with the example picture changed."""
    tab = browser.new_page(viewport=SIZE)
    tab.set_default_timeout(PATIENCE)
    tab.goto(url)
    tab.locator('img[alt*="samples "]').first.wait_for()
    tab.get_by_role('button', name='Generate', exact=True).click()
    _shoot(tab, 'images of', folder / 'demo_generate.png')
    dog = tab.get_by_role('button', name='A dog from a cat')
    if dog.is_visible():
        dog.click()
    else:
        tab.get_by_role('tab', name='From an image').click()
        tab.get_by_alt_text('the picture as the network sees it').wait_for()
        tab.get_by_role('button', name='Make images').click()
    _shoot(tab, 'from the picture', folder / 'demo_edit.png')
    tab.close()


def _shoot(tab, job, file):
    """Wait until a job is done and nothing moves any more, and take the screenshot."""
    tab.get_by_text(': done').filter(has_text=job).locator('visible=true').first.wait_for()
    tab.locator('.jg a.get').locator('visible=true').first.wait_for()
    tab.evaluate('scrollTo(0, 0)')
    tab.screenshot(path=file, animations='disabled')


def main():
    """Serve the page over the pretrained models, and take the screenshots for the README."""
    config = stored_config.read(CONFIG, ('demo',))
    set_up(config)
    with tempfile.TemporaryDirectory() as files, sync_playwright() as p:
        blocks = page.start(config, epath.Path(CONFIG).parent, files)
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        take(browser, blocks.local_url, DOCS)
        browser.close()
        blocks.close(verbose=False)


if __name__ == '__main__':
    main()
