"""``python -m dasd`` and the script ``dasd``."""

from __future__ import annotations

from dasd.cli.guard import main

if __name__ == "__main__":
    main()
