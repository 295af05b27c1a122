"""Reading a run directory."""

import json

from etils import epath

from jaxgen.io import run_directory


def test_the_config_of_a_run_or_none(tmp_path):
    workdir = epath.Path(tmp_path)
    assert run_directory.read_config(workdir) is None
    (workdir / 'config.json').write_text(json.dumps({'seed': 3}))
    assert run_directory.read_config(workdir) == {'seed': 3}


def test_a_row_that_was_cut_short_is_left_out(tmp_path):
    path = epath.Path(tmp_path) / run_directory.METRICS
    assert run_directory.read_metrics(path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert run_directory.read_metrics(path) == [{'step': 1, 'loss': 2.0}]
