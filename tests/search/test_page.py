"""The page in a real browser: type, see pictures, click, watch from the moment; by hand, by keys and offline."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from retrieval.search import Index
from retrieval.search.page.app import build_app, listening, server
from retrieval.search.page.desk import Desk
from tests.search.browser import browser, needs_chromium, requested
from tests.search.films import build_index, write_films

pytestmark = [pytest.mark.slow, needs_chromium]
HOSTILE = "<img src=x onerror='document.title=`hacked`'> {{7*7}} ${document.title='hacked'}.mp4"
PATIENCE = 30  # seconds, for a machine that is busy with other things


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory) -> Index:
    folder = tmp_path_factory.mktemp("own")
    write_films(folder / "films", ("one.mp4", "two.mp4", HOSTILE, "unplayable.mp4"))
    made = build_index(folder, encoder)
    (folder / "films" / "unplayable.mp4").write_bytes(b"no video any more")
    return made


@pytest.fixture(scope="module")
def address(index) -> Iterator[str]:
    listener = listening("127.0.0.1", 0)
    running = server(build_app(Desk(index), "films", "127.0.0.1"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    running.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(driver, address) -> Chrome:
    """The page as it opens, with the cursor in the box."""
    driver.get(address)
    wait(driver, lambda: driver.execute_script("return document.activeElement.closest('#query') !== null"))
    return driver


def wait(driver: Chrome, condition):
    return WebDriverWait(driver, PATIENCE, 0.1).until(lambda _: condition())


def ask(page: Chrome, query: str) -> list:
    """Type a question into the box that has the cursor; returns the answers once they are there."""
    page.switch_to.active_element.send_keys(query, Keys.ENTER)
    wait(page, lambda: f"“{query}”" in page.find_element(By.ID, "found").text)
    return page.find_elements(By.CLASS_NAME, "answer")


def video(page: Chrome, what: str):
    return page.execute_script(f"return document.querySelector('.player video').{what}")


def test_type_see_click_watch_and_ask_for_more(page, index, address):
    expected = index.search("a red ring", top=12)
    answers = ask(page, "a red ring")
    assert [each.find_element(By.CLASS_NAME, "name").text for each in answers] == [
        Path(each.path).name for each in expected
    ]
    pictures = page.find_elements(By.CSS_SELECTOR, ".answer img")
    wait(page, lambda: all(page.execute_script("return arguments[0].naturalWidth", each) for each in pictures[:4]))

    number, chosen = next((n, each) for n, each in enumerate(expected) if each.start > 0 and "unplay" not in each.path)
    answers[number].click()
    wait(page, lambda: video(page, "readyState") >= 2 and video(page, "currentTime") >= chosen.start - 0.05)
    assert video(page, "currentTime") < chosen.end + 0.5
    assert video(page, "error") is None
    assert page.find_element(By.CSS_SELECTOR, ".player h2").text == Path(chosen.path).name

    page.find_element(By.CSS_SELECTOR, "[data-do=more]").click()
    wait(page, lambda: f"like {Path(chosen.path).name}" in page.find_element(By.CLASS_NAME, "heading").text)
    assert page.find_elements(By.CLASS_NAME, "answer")
    assert {urlsplit(each).netloc for each in requested(page)} == {urlsplit(address).netloc}, "works offline"
    assert page.title == "Search your videos", "nothing in the names ran"
    errors = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [each for each in errors if "favicon" not in each], errors


def test_keys_alone_are_enough(page, index):
    ask(page, "a blue star")
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        if "answer" in page.switch_to.active_element.get_attribute("class").split():
            break
    first = page.switch_to.active_element
    first.send_keys(Keys.ARROW_RIGHT)
    second = page.switch_to.active_element
    assert second != first
    start = float(second.get_attribute("data-start"))
    second.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "video"
    wait(page, lambda: video(page, "currentTime") >= start - 0.05 or video(page, "error") is not None)
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find_element(By.CLASS_NAME, "player").is_displayed()
    assert page.switch_to.active_element == second


def test_a_video_that_cannot_be_played_is_told_and_names_are_text(page):
    answers = ask(page, "{{7*7}} <script>document.title='hacked'</script>")
    names = {each.find_element(By.CLASS_NAME, "name").text: each for each in answers}
    assert " ".join(HOSTILE.split()) in names
    names["unplayable.mp4"].click()
    trouble = page.find_element(By.CLASS_NAME, "trouble")
    wait(page, lambda: "cannot play this file" in trouble.text)
    time.sleep(0.2)
    assert page.title == "Search your videos"
