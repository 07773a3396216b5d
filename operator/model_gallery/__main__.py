"""`python -m model_gallery` is the command line."""

import sys

from model_gallery import cli

if __name__ == "__main__":
    sys.exit(cli.main())
