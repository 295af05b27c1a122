"""jaxgen's command line; ``python main.py --mode=help`` explains it."""

import sys

from jaxgen.cli.main import main

if __name__ == '__main__':
    sys.exit(main(sys.argv))
