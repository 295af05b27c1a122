"""Two processes that communicate over loopback train the same run as one process, stop together, and resume."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.tiny import LONG, WITHOUT_TENSORFLOW

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = {
    'model.base_channels': 8,
    'model.channel_multipliers': 1,
    'model.num_res_blocks': 1,
    'model.attention_resolutions': '()',
    'model.norm_groups': 4,
    'model.patch_size': 1,
    'data.batch_size': 16,
    'diffusion.timesteps': 20,
    'sample.num': 4,
    'sample.batch_size': 4,
    'sample.num_steps': 2,
    'sample.every': 6,
    'train.steps': 12,
    'train.log_every': 4,
    'checkpoint.every': 6,
}


def start(workdir, number=0, port=0, **fields):
    """Start one of two processes with a device each or, without a port, a single process with two devices."""
    fields = {**FIELDS, 'mesh.cpu_devices': 1 if port else 2, 'mesh.distributed': bool(port), **fields}
    env = dict(WITHOUT_TENSORFLOW)
    if port:
        env |= {'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}', 'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': str(number)}
    args = [f'--config.{name}={value}' for name, value in fields.items()]
    return subprocess.Popen(
        [sys.executable, 'main.py', '--config=configs/ddpm_digits.py', f'--workdir={workdir}', *args],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pair(workdir, **fields):
    with contextlib.closing(socket.socket()) as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    return [start(workdir, i, port, **fields) for i in range(2)]


def ended(processes):
    return [(*p.communicate(timeout=300), p.returncode) for p in processes]


def arrays(workdir, step):
    """Return all arrays of a checkpoint, independently of the devices that wrote them."""
    path = workdir / 'checkpoints' / str(step) / 'state'
    with ocp.StandardCheckpointer() as reader:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), reader.metadata(path).item_metadata.tree
        )
        state = reader.restore(path, shapes)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(state)}


@LONG
def test_two_processes_stop_together_go_on_and_are_the_run_of_one(tmp_path):
    run = tmp_path / 'run'
    processes = pair(run, **{'train.steps': 100_000, 'checkpoint.every': 50_000, 'sample.every': None})
    while not (run / 'metrics.jsonl').exists() or not (run / 'metrics.jsonl').read_text():
        assert all(p.poll() is None for p in processes)
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)  # only one of them gets the signal
    results = ended(processes)
    assert [code for *_, code in results] == [143, 143], results
    (step,) = [int(p.name) for p in (run / 'checkpoints').iterdir() if p.name.isdigit()]
    assert f'SIGTERM: step {step} is saved' in results[0][0]

    end = {'train.steps': step + 2}
    results = ended(pair(run, **end))
    assert [code for *_, code in results] == [0, 0], results
    assert f'resuming at step {step}' in results[0][0] and results[1][0] == ''
    assert (run / 'samples' / f'step_{step + 2}.png').exists()

    alone = tmp_path / 'alone'
    ((_, err, code),) = ended([start(alone, **end)])
    assert code == 0, err
    for rows in zip(*((w / 'metrics.jsonl').read_text().splitlines() for w in (alone, run)), strict=True):
        a, b = map(json.loads, rows)
        assert a['step'] == b['step'] and b['loss'] == pytest.approx(a['loss'], rel=1e-4)
    ours, theirs = arrays(run, step + 2), arrays(alone, step + 2)
    assert ours.keys() == theirs.keys()
    for path, x in theirs.items():
        if 'sums' not in path and 'checksum' not in path:
            np.testing.assert_allclose(ours[path], x, atol=1e-4, err_msg=path)


def test_half_an_environment_is_refused(tmp_path):
    env = os.environ | {'JAX_COORDINATOR_ADDRESS': '127.0.0.1:1'}
    command = [sys.executable, 'main.py', '--config=configs/ddpm_digits.py', f'--workdir={tmp_path}/run']
    done = subprocess.run(
        [*command, '--config.mesh.distributed=True'], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2 and 'JAX_NUM_PROCESSES' in done.stderr
