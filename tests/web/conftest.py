"""The page in a real browser: Debian's Chromium, driven by Playwright. Skipped, with the reason, where one is missing.

`.ci/run` installs what is needed. MYGO_EDGE_SCREENSHOTS names a folder that keeps pictures of the page.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mygo_edge.errors import MygoEdgeError
from mygo_edge.web.runtime import default_folder, read_runtime

# For a browser that runs as root, shows nothing, and calls nobody.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]
SECONDS = 60  # that a page may take: a busy machine is slow, not wrong

Open = Callable[..., Any]  # address -> page, ready or refused


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The folder of onnxruntime-web."""
    try:
        read_runtime(default_folder())
    except MygoEdgeError as error:
        pytest.skip(str(error))
    return default_folder()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, with a profile of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no chromium here: apt-get install chromium")
    profile = tmp_path_factory.mktemp("profile")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=executable, headless=True, args=FLAGS, permissions=["camera"]
        )
        context.set_default_timeout(1000 * SECONDS)
        yield context
        context.close()


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true. Playwright's own way evaluates text in the page, which the page forbids."""
    end = time.monotonic() + SECONDS
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.05)


def shown(page: Any) -> list[float]:
    """The probabilities in the table, one a class."""
    return [
        float(value) for value in page.eval_on_selector_all("#bars tr", "rows => rows.map(r => r.dataset.probability)")
    ]


def classified(page: Any, path: Path) -> str:
    """What the page answers about a picture."""
    page.evaluate("document.getElementById('answer').textContent = ''")
    page.set_input_files("#file", path)
    page.wait_for_selector("#answer:not(:empty)")
    return str(page.text_content("#answer"))


@contextmanager
def serving(bundle: Path, runtime: Path, *options: object) -> Iterator[str]:
    """The address of the command, serving a bundle."""
    command = [sys.executable, "-m", "mygo_edge.web", bundle, "--port", "0", "--runtime", runtime, *options]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    """The address of a server in this process."""
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def address(bundle: Path, runtime: Path) -> Iterator[str]:
    with serving(bundle, runtime) as found:
        yield found


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open an address and wait until the page is ready, or has refused. A fetch from elsewhere fails."""
    pages = []
    elsewhere: list[str] = []

    def opened(address: str, *, width: int = 1280, dark: bool = False) -> Any:
        page = browser.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.on("request", lambda request: request.url.startswith((address, "blob:")) or elsewhere.append(request.url))
        page.on("console", lambda message: message.type == "error" and print("console:", message.text))
        page.goto(address)
        page.wait_for_selector("html:not([data-state=loading])", state="attached")
        return page

    yield opened
    for page in pages:
        page.close()
    assert not elsewhere


@pytest.fixture
def page(open_page: Open, address: str) -> Any:
    """The page of the tests' bundle, ready."""
    found = open_page(address)
    assert found.get_attribute("html", "data-state") == "ready", found.text_content("#status")
    return found


@pytest.fixture(scope="session")
def keep_screenshot() -> Callable[[Any, str], None]:
    """Keep a picture of a page where MYGO_EDGE_SCREENSHOTS says."""
    folder = os.environ.get("MYGO_EDGE_SCREENSHOTS")

    def keep(page: Any, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return keep
