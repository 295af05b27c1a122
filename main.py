"""jaxgen's command line; ``python main.py --mode=help`` explains it."""

import sys

try:
    from jaxgen.cli.main import main, run
except KeyboardInterrupt:  # while Python imports
    sys.exit(130)

__all__ = ['main']

if __name__ == '__main__':
    run()
