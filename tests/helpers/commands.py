"""Commands of pages and notebooks, resolved as the command line resolves them; nothing is computed."""

import dataclasses
import importlib.util
import itertools
import pathlib
import re
import subprocess
import tempfile
import tomllib

from jaxgen.apps.rules import validate
from jaxgen.cli import flags, modes
from jaxgen.data.options import kind_of

ROOT = pathlib.Path(__file__).parents[2]


# In a shell whose PATH is empty every program is unknown, and is written down instead of being run.
WRITE_DOWN = """
command_not_found_handle() { printf '%s\\0' "$@" '' >&3; }
cd() { :; }
.() { :; }
source() { :; }
"""


def bash_blocks(text):
    """Return the bash blocks of a page in Markdown."""
    return re.findall(r'^```bash\n(.*?)^```', text, flags=re.DOTALL | re.MULTILINE)


def commands_of(script):
    """Return the programs that a script of bash starts, each as its words; also those within an argument, as of ssh.

    Loops, variables and functions of the script are carried out, and programs are not.
    """
    script = script.replace('.venv/bin/', '')
    with tempfile.TemporaryDirectory() as folder:
        written = pathlib.Path(folder) / 'commands'
        done = subprocess.run(
            ['/bin/bash', '-c', f'exec 3>{written}\n{WRITE_DOWN}\nPATH=/nowhere\n{script}'],
            cwd=folder,
            env={'HOME': folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        words = written.read_text().split('\0')
    assert not done.stderr, f'{script}\n{done.stderr}'
    found = [list(group) for is_word, group in itertools.groupby(words, bool) if is_word]
    nested = [word.partition('=')[2] or word for each in found for word in each if 'main.py ' in word]
    return found + [inner for each in nested for inner in commands_of(each)]


def own_arguments(words):
    """Return the arguments of a command of jaxgen, also behind ``timeout`` and the like; None for any other command."""
    for i, word in enumerate(words):
        if word == 'jaxgen' and i == 0:
            return words[1:]
        if word == 'main.py' and i > 0 and words[i - 1].endswith('python'):
            return words[i + 1 :]
    return None


def check(words, runs=None):
    """Check a command: the config of jaxgen's own, a target of make, an extra of pip, a module of Python.

    Args:
      words: the command.
      runs: the config with which each run directory is made, to which this command adds its own.

    Raises:
      UserError: as the command itself would.
      AssertionError: if it names what is not there.
    """
    words = [word for word in words if not re.match(r'[A-Z_]+=', word)] or words
    own = own_arguments(words)
    if own is not None:
        resolved(own, runs)
    elif words[0] == 'make':
        targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE)
        assert words[1] in targets, f'make has no target {words[1]}'
    elif words[:2] == ['pip', 'install']:
        extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']
        wanted = {name for word in words for name in re.findall(r'^\.\[(.+)\]$', word)}
        assert wanted <= extras.keys(), f'pyproject.toml has no extra {wanted}'
    elif words[:2] == ['python', '-m']:
        assert importlib.util.find_spec(words[2]), f'there is no module {words[2]}'


def resolved(argv, runs=None):
    """Return the mode and the checked config of the arguments of a command; no config where the mode has none."""
    arguments, runs = flags.parse(argv), {} if runs is None else runs
    if arguments.mode in ('help', 'doctor') and arguments.config is None:
        return arguments.mode, None
    arguments = dataclasses.replace(arguments, config=_present(arguments.config, runs))
    runs.setdefault(str(arguments.workdir), arguments.config)
    draft = flags.load(arguments)
    if arguments.mode == 'help':
        return 'help', None
    modes.require_read(arguments.mode, arguments.names)
    mode = modes.MODES[arguments.mode]
    if kind_of(draft.data.name) is not None:  # what is known when its images have been looked at
        draft.data.update({'class_names': ('a', 'b'), 'channels': 3, 'image_size': draft.data.image_size or 64})
    config = modes.config_of(mode, draft)
    if mode.validates:
        validate(config)
    return arguments.mode, config


def _present(config, runs):
    """Return the config that made a run, for the config.json of one that is not there."""
    folder, _, name = (config or '').rpartition('/')
    if name != 'config.json' or pathlib.Path(config).exists():
        return config
    run = re.fullmatch(r'runs/(\w+)(?:-(\w+))?', folder)
    own = f'configs/{run[1]}.py' + (f':{run[2]}' if run[2] else '') if run else ''
    own = own if pathlib.Path(own.partition(':')[0]).is_file() else 'configs/ddpm_digits.py'
    return runs.get(folder, own)
