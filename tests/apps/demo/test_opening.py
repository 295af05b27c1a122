"""The page as it is built: with the settings of its first model, which the events of its opening leave as they are."""

import json
import types

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.demo import inputs, views
from jaxgen.apps.demo.engine import Progress
from tests.tiny import tiny_config

page = pytest.importorskip('jaxgen.apps.demo.page', reason='the demo needs Gradio', exc_type=ModuleNotFoundError)
FIELDS = {'diffusion.timesteps': 1000, 'diffusion.label_dropout': 0.1, 'sample.num_steps': 7}
NOBODY = types.SimpleNamespace(query_params='', session_hash='tab')


def run_of(folder, **fields):
    (folder / 'checkpoints' / '4').mkdir(parents=True)
    config = tiny_config(**{**FIELDS, **fields})
    (folder / 'config.json').write_text(json.dumps(config.to_tree()))
    return str(folder)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Return the names of two models, the run directories, and a page over them."""
    folder = tmp_path_factory.mktemp('runs')
    names = run_of(folder / 'a', **{'sample.guidance_scale': 2.5}), run_of(folder / 'b', **{'sample.num_steps': 10})
    workdirs = page.Workdirs(tiny_config(**{'demo.workdirs': names}), epath.Path(folder))
    return names, workdirs, page.build(workdirs, page.WarmUp(workdirs))


def values(blocks, label):
    """Return the values of all inputs with a label, from the first tab to the last."""
    found = [part['props'] for part in blocks.config['components']]
    return [props.get('value') for props in found if props.get('label') == label and props.get('visible', True)]


def handlers(blocks, name):
    return [function.fn for function in blocks.fns.values() if function.name == name]


def test_a_page_is_built_with_the_settings_of_its_first_model(built):
    (first, second), _, blocks = built
    assert values(blocks, 'Model') == [first] * 3 and values(blocks, 'Models') == [[first, second]]
    assert values(blocks, 'Steps') == [7, 7, inputs.OWN_STEPS]
    assert values(blocks, 'Sampler') == ['ddim'] and values(blocks, 'Guidance') == [2.5]


def test_opening_a_page_overwrites_no_choice(built):
    opened = handlers(built[2], '_opened')
    assert len(opened) == 5
    for handler in opened:
        updates = handler(NOBODY) if handler.__name__ == '_opened' and handler.__code__.co_argcount > 1 else handler()
        for update in updates if isinstance(updates, list) else [updates]:
            assert 'value' not in update and {*update} <= {'choices', 'visible', '__type__'}


def test_a_first_model_that_is_gone_is_replaced(built, monkeypatch):
    (first, second), workdirs, blocks = built
    monkeypatch.setattr(workdirs, 'able_to_sample', lambda: [second])
    for handler in handlers(blocks, '_opened')[:2]:
        updates = handler(NOBODY)
        steps = [update for update in updates if isinstance(update, dict) and update.get('value') == 10]
        assert updates[0]['value'] == second and steps


def test_a_replay_is_enabled_once_there_are_images(built):
    blocks, step = built[2], Progress(1, 1, np.zeros((1, 8, 8, 1), np.uint8), taken=1)
    saves = [part['props'] for part in blocks.config['components'] if 'WebP' in str(part['props'].get('value'))]
    assert len(saves) == 2 and not any(props['interactive'] for props in saves)
    replay = page.generate.replay.Replay('generate', page.Sessions(), *[None] * 5)
    for way, is_enabled in (([], False), ([step._replace(taken=0), step], True)):
        assert [update.interactive for update in replay.keep(way, NOBODY)] == [is_enabled] * 2


def test_inside_says_at_once_what_is_read(built):
    (first, _), _, blocks = built
    show = next(handler for handler in handlers(blocks, 'show') if 'noted_steps' in handler.__code__.co_name)
    line, *others = next(show(first, 3, 10))
    assert 'Reading the test images of digits' in line and not any('value' in update for update in others)


def test_metrics_with_other_settings_are_named():
    measured = {'sampler': 'dpmpp_2m', 'num_steps': 15, 'network_calls': 15, 'guidance_scale': 2.5, 'step': 4}
    same = page.compare.other_settings('a', measured, measured)
    other = page.compare.other_settings('a', measured, {**measured, 'num_steps': 18, 'network_calls': 18})
    assert same == '' and other.endswith('than the images shown: sampling steps 15 (images: 18).')


def test_a_chart_has_the_width_of_a_phone():
    svg = views.curves({'a': [(0, 1), (1, 2)]}, 'x', 'y', 'a chart')
    width = float(svg.partition('width="')[2].partition('pt')[0])
    assert width / 0.75 <= 360  # pixels
