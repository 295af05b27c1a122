"""A run directory in a bucket, where nothing can be appended, moved or locked."""

import json
import pathlib
import signal
import subprocess
import sys
import time

from tests.tiny import LONG, WITHOUT_TENSORFLOW

STAND_IN = pathlib.Path(__file__).with_name('on_a_stand_in_bucket.py')
FIELDS = {
    'model.base_channels': 8,
    'model.channel_multipliers': 1,
    'model.num_res_blocks': 1,
    'model.attention_resolutions': '()',
    'model.norm_groups': 4,
    'model.patch_size': 1,
    'data.batch_size': 8,
    'diffusion.timesteps': 20,
    'sample.num': 4,
    'sample.batch_size': 4,
    'sample.num_steps': 2,
    'sample.every': 5,
    'train.log_every': 5,
    'checkpoint.every': 5,
}


def start(root, **fields):
    args = [f'--config.{name}={value}' for name, value in {**FIELDS, **fields}.items()]
    return subprocess.Popen(
        [
            sys.executable,
            STAND_IN,
            '--config=configs/ddpm_digits.py',
            '--workdir=gs://bucket/run',
            *args,
        ],
        cwd=STAND_IN.parents[2],
        env=WITHOUT_TENSORFLOW | {'STAND_IN_BUCKET': str(root), 'EPATH_USE_TF': '0'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@LONG
def test_a_run_in_a_bucket_survives_the_loss_of_its_machine(tmp_path):
    run = tmp_path / 'bucket' / 'run'
    process = start(tmp_path, **{'train.steps': 100_000})
    while not (run / 'checkpoints' / '10').exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    saved = max(
        int(p.parent.name) for p in (run / 'checkpoints').glob('*/commit_success.txt')
    )  # the file with which Orbax marks a complete checkpoint
    assert saved >= 5

    process = start(tmp_path, **{'train.steps': saved + 5})
    out, _ = process.communicate()
    assert process.returncode == 0 and f'resuming at step {saved}' in out, out
    steps = [json.loads(line)['step'] for line in (run / 'metrics.jsonl').read_text().splitlines()]
    assert steps == list(range(5, saved + 6, 5))
    assert (run / 'samples' / f'step_{saved + 5}.png').stat().st_size

    assert not list(run.glob('.*'))  # neither a lock nor a temporary file
