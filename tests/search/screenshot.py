"""`python -m tests.search.screenshot <checkpoint> <picture>`: README's picture of the page.

The checkpoint is one that `make train` has left; the films are made here, and the browser is that of the tests.
"""

import sys
import tempfile
import threading
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from retrieval.search import Index
from retrieval.search.cutting import Cut
from retrieval.search.page.app import build_app, listening, server
from retrieval.search.page.desk import Desk
from tests.search.browser import browser
from tests.search.films import write_films

NAMES = [f"{folder}/{name}.mp4" for folder in ("2025", "2026") for name in ("garden", "harbour", "market", "school")]


def main() -> None:
    """Ask for the third scene of the second film and watch it."""
    checkpoint, picture = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        told = write_films(Path(folder, "films"), NAMES, scenes_each=4, size=256)
        index = Index.create(Path(folder, "index"), checkpoint, Cut(window=2.0, stride=1.0))
        index.add([Path(folder, "films")], workers=0)
        with listening("127.0.0.1", 0) as listener:
            running = server(build_app(Desk(index), "films.index", "127.0.0.1"))
            thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            take(f"http://127.0.0.1:{listener.getsockname()[1]}/", told[NAMES[1]][2], Path(folder, "profile"), picture)
            running.should_exit = True
            thread.join(10)


def take(address: str, query: str, profile: Path, picture: Path) -> None:
    """Type, choose the first answer, wait for its video, and keep what is to be seen."""
    with browser(profile) as driver:
        wait = WebDriverWait(driver, 60)
        driver.set_window_size(1280, 1260)
        driver.get(address)
        wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#query input"))
        driver.find_element(By.CSS_SELECTOR, "#query input").send_keys(query, Keys.ENTER)
        wait.until(lambda _: driver.find_elements(By.CLASS_NAME, "answer"))
        driver.find_element(By.CLASS_NAME, "answer").click()
        wait.until(lambda _: driver.execute_script("return document.querySelector('.player video').currentTime > 0"))
        driver.execute_script("document.querySelector('.player video').pause(); window.scrollTo(0, 0)")
        loaded = "return [...document.querySelectorAll('.answer img')].slice(0, 4).every((each) => each.naturalWidth)"
        wait.until(lambda _: driver.execute_script(loaded))
        driver.save_screenshot(str(picture))


if __name__ == "__main__":
    main()
