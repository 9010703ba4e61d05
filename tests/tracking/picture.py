"""The picture of the MLflow UI in the README: `python -m tests.tracking.picture RUN_DIR PNG`.

RUN_DIR is a finished run, such as `runs/quickstart`; the picture is of the page that compares the
members of its front.
"""

import sys
import tempfile
from pathlib import Path

from tests.tracking.browser import WITHOUT_ASSISTANT, browser
from tests.tracking.ui import serving


def main() -> None:
    """Serve the run, open the page in Chromium, write what it shows."""
    run_dir, png = map(Path, sys.argv[1:])
    with (
        serving(run_dir) as ui,
        tempfile.TemporaryDirectory() as profile,
        browser(Path(profile), size=(1400, 760)) as page,
    ):
        page.before_each_load(WITHOUT_ASSISTANT)
        page.go(ui.compare_page())
        page.wait_for("document.querySelectorAll('.parcoords .y-axis').length >= 4")
        page.picture(png)


if __name__ == "__main__":
    main()
