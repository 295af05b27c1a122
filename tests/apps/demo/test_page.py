"""The page in headless Chromium, from end to end: one server over a tiny untrained diffusion model and a GAN."""

import base64
import contextlib
import io
import json
import re
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.io import grids, images
from jaxgen.methods import METHODS
from tests.tiny import LONG, tiny_config, untrained

page = pytest.importorskip('jaxgen.apps.demo.page', reason='the demo needs Gradio', exc_type=ModuleNotFoundError)
playwright = pytest.importorskip('playwright.sync_api')
screenshots = pytest.importorskip(
    'tests.helpers.screenshots', reason='the demo needs Gradio', exc_type=ModuleNotFoundError
)
pytestmark = pytest.mark.skipif(screenshots.CHROMIUM is None, reason='no Chromium is installed')
PATIENCE = 120_000  # milliseconds


class Served:
    """The address of the page, the folder in which uploads arrive, and how each generation ended."""

    def __init__(self, folder, url, files, endings):
        self.folder, self.url, self.files, self.endings = folder, url, files, endings


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    c = tiny_config(**{'diffusion.timesteps': 1000, 'diffusion.label_dropout': 0.1})
    names = ['one', 'gan']
    untrained(c, folder / 'one')
    untrained(tiny_config('dcgan'), folder / 'gan')
    (folder / 'one' / 'samples').mkdir()
    for step in (0, 2, 4):
        grid = np.full((16, 16, 1), 60 * step, np.uint8)
        (folder / 'one' / 'samples' / f'step_{step}.png').write_bytes(images.png(grid))
    (folder / 'one' / 'interpretation').mkdir()
    (folder / 'one' / 'interpretation' / 'report.html').write_text('<p>the atlas</p>')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    c = c.replace({'demo.workdirs': tuple(str(folder / name) for name in names), 'demo.port': port})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GRADIO_TEMP_DIR', '')
        endings = watch_sampling(patch)
        blocks = page.start(c, epath.Path(folder / 'one'), str(folder / 'files'))
        yield Served(folder, f'http://127.0.0.1:{port}', folder / 'files', endings)
        blocks.close(verbose=False)


def watch_sampling(patch):
    """Return a list that gets 'finished' or 'stopped' when a generation ends."""
    from jaxgen.apps.demo.engine import Model

    ends, generate = [], Model.generate

    def watched(self, fields):
        end = 'stopped'
        try:
            yield from generate(self, fields)
            end = 'finished'
        finally:
            ends.append(end)

    patch.setattr(Model, 'generate', watched)
    return ends


@pytest.fixture(scope='module')
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=screenshots.CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def visit(served, chromium):
    """Return a function that opens a tab and waits for the grid that is kept with the model."""
    with contextlib.ExitStack() as stack:

        def opened(query='', **options):
            context = chromium.new_context(**options)
            stack.callback(context.close)
            tab = context.new_page()
            tab.set_default_timeout(PATIENCE)
            tab.asked, tab.faults = [], []
            tab.on('request', lambda request: tab.asked.append(request.url))
            tab.on('pageerror', lambda error: tab.faults.append(str(error)))
            tab.goto(served.url + query)
            done(tab, 'digits, 8x8 pixels in grey')
            done(tab, 'samples at step 4 of training' if not query else ': done')
            return tab

        yield opened


def done(tab, words=': done'):
    tab.get_by_text(words).locator('visible=true').first.wait_for()


def picture(tab):
    return tab.locator('img[alt^="grid: "]').locator('visible=true').first.get_attribute('src')


def sample(tab, **fields):
    for label, value in fields.items():
        tab.get_by_label(label, exact=True).locator('visible=true').first.fill(str(value))
    tab.evaluate("document.querySelectorAll('.jg .line').forEach(e => e.remove())")
    tab.get_by_role('button', name='Generate', exact=True).click()
    done(tab)


def choose(tab, model):
    tab.get_by_label('Model', exact=True).locator('visible=true').first.click()
    tab.get_by_role('option', name=model, exact=True).click()


def steps(tab, number):
    tab.get_by_role('radio', name='more ...').locator('visible=true').check()
    tab.get_by_label('Number of steps').locator('visible=true').fill(str(number))


def kept(served):
    """Return the files with content in the folder in which uploads arrive."""
    return [path for path in served.files.rglob('*') if path.is_file() and path.stat().st_size]


def until(holds):
    end = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_it_opens_with_a_finished_grid_and_hides_what_a_gan_lacks(served, visit):
    tab = visit()
    grid = base64.b64decode(tab.get_by_alt_text('samples at step 4').get_attribute('src').partition(',')[2])
    assert grid == (served.folder / 'one' / 'samples' / 'step_4.png').read_bytes() and not served.endings
    steps = tab.get_by_role('radio', name='more ...').locator('visible=true')
    until(steps.count)
    choose(tab, 'gan')
    until(lambda: not steps.count())
    sample(tab)
    assert 'images of gan: done' in tab.locator('.jg .line').locator('visible=true').first.inner_text()
    choose(tab, 'one')
    until(lambda: steps.count())
    assert not tab.faults


@LONG
def test_a_link_restores_a_grid_and_its_settings(served, visit):
    """The images are those of the command below them, and of the link in the address bar."""
    tab = visit()
    steps(tab, 37)
    tab.get_by_label('Classes').locator('visible=true').click()
    tab.get_by_role('option', name='3', exact=True).click()
    tab.get_by_text('More settings').locator('visible=true').click()
    tab.get_by_label('number input for Guidance').locator('visible=true').fill('2.5')
    sample(tab, Seed=5)
    until(lambda: 'seed=5' in tab.url)
    assert '--config.seed=5' in tab.get_by_label('command').first.inner_text()
    png, arrays = (
        base64.b64decode(tab.get_by_role('link', name=name).get_attribute('href').partition(',')[2])
        for name in ('Download PNG', 'Download npz')
    )
    asked = {
        'seed': 5,
        'sample.num_steps': 37,
        'sample.classes': ('3',),
        'sample.guidance_scale': 2.5,
        'sample.num': 20,
    }
    c = tiny_config(**{'diffusion.timesteps': 1000, 'diffusion.label_dropout': 0.1, **asked})
    modes.run('sample', c, epath.Path(served.folder / 'one'))
    with np.load(io.BytesIO(arrays)) as sampled, np.load(served.folder / 'one' / 'samples' / 'samples.npz') as by_mode:
        np.testing.assert_array_equal(sampled['images'], by_mode['images'])
        expected = grids.by_class(sampled['images'], [3] * 20, '0123456789')
    with Image.open(io.BytesIO(png)) as labelled:
        np.testing.assert_array_equal(np.asarray(labelled), expected[..., 0])
    other = visit(query=tab.url.removeprefix(served.url))
    assert picture(other) == picture(tab) and other.url == tab.url
    assert other.get_by_label('Seed').locator('visible=true').input_value() == '5'
    assert other.get_by_label('Number of steps').locator('visible=true').input_value() == '37'
    assert other.get_by_label('number input for Images').locator('visible=true').input_value() == '20'
    assert all(url.startswith((served.url, 'data:', 'blob:')) for url in tab.asked) and not other.faults


def test_the_steps_are_replayed_and_saved(visit):
    tab = visit()
    sample(tab)
    tab.get_by_text('Replay: from noise').locator('visible=true').click()
    tab.get_by_label('number input for Steps taken').locator('visible=true').fill('1')
    done(tab, 'after step 1 of 4')
    tab.get_by_role('button', name='Make a WebP').locator('visible=true').click()
    link = tab.get_by_role('link', name='Download WebP').locator('visible=true')
    data = base64.b64decode(link.get_attribute('href').partition(',')[2])
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.format == 'WEBP' and animation.n_frames == 5


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_everything_has_a_name_and_fits_a_phone(visit, scheme):
    """Every tab is visible, and its result begins at most two screens below the top."""
    tab = visit(viewport={'width': 390, 'height': 844}, color_scheme=scheme)
    colour = tab.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (max(int(x) for x in re.findall(r'\d+', colour)[:3]) < 64) == (scheme == 'dark')
    assert tab.get_by_alt_text('samples at step 4').bounding_box()['y'] < 600
    assert tab.get_by_role('tab').count() == 5 and not tab.get_by_label('More tabs').is_visible()
    for name in ('Generate', 'From an image', 'Compare', 'Training', 'Inside'):
        tab.get_by_role('tab', name=name).click()
        assert tab.evaluate('document.documentElement.scrollWidth') <= 390
        result = tab.locator('.result').locator('visible=true').first
        result.wait_for()
        assert result.bounding_box()['y'] + tab.evaluate('scrollY') < 2 * 844 - 300
        nameless = tab.evaluate("""() => [...document.querySelectorAll('input, button, select, textarea, img')]
            .filter(e => e.offsetParent && !(e.ariaLabel || e.labels?.length || e.alt || e.title || e.innerText.trim()))
            .map(e => e.outerHTML)""")
        assert not nameless


def test_the_screenshots_of_the_readme_can_be_made(served, chromium, tmp_path):
    screenshots.take(chromium, served.url, tmp_path)
    for name in ('demo_generate.png', 'demo_edit.png'):
        with Image.open(tmp_path / name) as shot, Image.open(screenshots.DOCS / name) as kept:
            assert shot.size == kept.size


def test_an_upload_is_shown_as_seen_edited_and_not_kept(served, visit, tmp_path):
    Image.new('RGB', (60, 20), (250, 200, 0)).save(tmp_path / 'photograph.png')
    tab = visit()
    tab.get_by_role('tab', name='From an image').click()
    tab.locator('input[type=file]').set_input_files(tmp_path / 'photograph.png')
    done(tab, '60x20 pixels; the network sees its middle square at 8x8 pixels in grey')
    assert tab.get_by_alt_text('the picture as the network sees it').is_visible()
    tab.get_by_text('Mask: change only').click()
    painted = tab.get_by_role('application')
    painted.focus()
    for key in ('Space', 'ArrowRight', 'Space', 'ArrowDown', 'Space', 'Space'):
        painted.press(key)
    done(tab, 'row 2, column 2: kept; 2 of 64 pixels')
    tab.get_by_role('button', name='Make images').click()
    done(tab, 'from the picture: done')
    line = tab.get_by_label('command').locator('visible=true').inner_text()
    assert '--config.edit.kind=inpaint' in line and '--config.edit.mask=mask.png' in line
    tab.get_by_text('Replay: from noise').locator('visible=true').click()
    done(tab, 'after step 2 of 2, 0% noise')
    tab.get_by_label('number input for Steps taken').locator('visible=true').fill('1')
    done(tab, 'after step 1 of 2')
    assert not kept(served)


def test_bad_uploads_are_refused_politely(served, visit, tmp_path):
    (tmp_path / 'text.png').write_text('no picture')
    Image.new('RGBA', (9, 9)).save(tmp_path / 'alpha.png')
    Image.new('1', (9000, 100)).save(tmp_path / 'wide.png')
    with open(tmp_path / 'large.png', 'wb') as large:
        large.truncate(11_000_000)
    tab = visit()
    tab.get_by_role('tab', name='From an image').click()
    for name, words in (
        ('text.png', 'is not an image that can be read'),
        ('alpha.png', 'has transparent pixels'),
        ('wide.png', 'has 9000x100 pixels'),
        ('large.png', 'exceed the maximum allowed size'),
    ):
        tab.locator('input[type=file]').set_input_files(tmp_path / name)
        done(tab, re.compile(words))
    assert not kept(served)


def test_models_are_compared_with_real_images(visit):
    tab = visit()
    tab.get_by_role('tab', name='Compare').click()
    tab.get_by_role('button', name='Compare', exact=True).click()
    done(tab, 'real images of digits')
    captions = tab.locator('figcaption').locator('visible=true').all_inner_texts()
    assert len(captions) == 3 and 'one (step 4, DDIM, 4 steps)' in captions[0] and 'generator' in captions[1]


def test_training_is_shown_while_it_goes_on(served, visit):
    tab = visit()
    tab.get_by_role('tab', name='Training').click()
    done(tab, re.compile('step 4, loss'))
    done(tab, re.compile('^step 4$'))
    tab.get_by_label('number input for Sample grids').fill('1')
    done(tab, re.compile('^step 2$'))
    with open(served.folder / 'one' / 'metrics.jsonl', 'a') as log:
        log.write('{"step": 5, "loss": 0.125, "steps_per_sec": 10.0}\n')
    done(tab, re.compile('step 5, loss 0.125'))


def test_inside_shows_the_forward_process_and_the_report(visit):
    tab = visit()
    tab.get_by_role('tab', name='Inside').click()
    done(tab, 'x = alpha image + sigma noise')
    assert tab.frame_locator('iframe').get_by_text('the atlas').inner_text() == 'the atlas'


def test_visitors_wait_in_turn_and_leaving_stops_the_work(served, visit):
    one, other = visit(), visit()
    before = len(served.endings)
    steps(one, 1000)
    one.get_by_label('number input for Images').locator('visible=true').fill('64')
    one.get_by_role('button', name='Generate', exact=True).click()
    done(one, re.compile(r'step .* of \d000'))
    other.get_by_role('button', name='Generate', exact=True).click()
    done(other, re.compile('at work for another visitor: 64 images of one: step .* Your turn comes after one job'))
    one.close()
    until(lambda: len(served.endings) == before + 2)
    assert served.endings[before:] == ['stopped', 'finished']


def test_sampling_can_be_stopped(served, visit):
    tab = visit()
    before = len(served.endings)
    steps(tab, 1000)
    tab.get_by_label('number input for Images').locator('visible=true').fill('64')
    tab.get_by_role('button', name='Generate', exact=True).click()
    done(tab, re.compile(r'step .* of \d000'))
    tab.get_by_role('button', name='Stop', exact=True).locator('visible=true').click()
    until(lambda: served.endings[before:] == ['stopped'])


@pytest.mark.parametrize('path', ['/etc/passwd', '{}/one/config.json', '{}/../x', 'main.py'])
def test_no_file_can_be_read(served, path):
    for route in ('/gradio_api/file=', '/file='):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(served.url + route + path.format(served.folder))
        assert refused.value.code in (403, 404)


def test_a_page_without_models_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdirs = page.Workdirs(tiny_config(), epath.Path(tmp_path / 'none'))
    blocks = page.build(workdirs, page.WarmUp(workdirs))
    shown = [part['props'] for part in blocks.config['components'] if 'make run' in str(part['props'].get('value'))]
    assert len(shown) == 1 and shown[0]['visible']


def test_a_folder_without_a_run_is_refused(tmp_path):
    c = tiny_config(**{'demo.workdirs': (str(tmp_path),)})
    with pytest.raises(UserError, match='config.demo.workdirs: .* holds no run'):
        page.Workdirs(c, epath.Path(tmp_path))


def test_only_models_that_sample_are_shown(tmp_path):
    for family in METHODS:
        (tmp_path / family / 'checkpoints' / '4').mkdir(parents=True)
        (tmp_path / family / 'config.json').write_text(json.dumps(tiny_config(family).to_tree()))
    c = tiny_config(**{'demo.workdirs': tuple(str(tmp_path / family) for family in METHODS)})
    workdirs = page.Workdirs(c, epath.Path(tmp_path))
    assert [epath.Path(name).name for name in workdirs.able_to_sample()] == ['ddpm', 'dcgan', 'r3gan']
    with pytest.raises(UserError, match='the run directory'):
        workdirs.path(str(tmp_path / '..'))


def test_the_first_comparison_is_of_one_data_set(tmp_path):
    from jaxgen.apps.demo.tabs import compare

    for name, data in (('a', 'cifar10'), ('b', 'digits'), ('c', 'cifar10')):
        (tmp_path / name / 'checkpoints' / '4').mkdir(parents=True)
        (tmp_path / name / 'config.json').write_text(json.dumps(tiny_config(**{'data.name': data}).to_tree()))
    c = tiny_config(**{'demo.workdirs': tuple(str(tmp_path / name) for name in 'abc')})
    chosen = compare.first_models(page.Workdirs(c, epath.Path(tmp_path)))
    assert [epath.Path(name).name for name in chosen['value']] == ['a', 'c']
    assert [title for title, _ in chosen['choices']] == ['a', 'b', 'c']
