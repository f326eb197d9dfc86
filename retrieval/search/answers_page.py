"""Replies as a page that is one file: pictures are in it, and links open the videos at the moment."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from retrieval.search.answers import Answer
from retrieval.search.moments import Moment
from retrieval.search.questions import Reply
from retrieval.search.writing import clock, shown

Thumbnails = Callable[[Sequence[Moment]], list[bytes]]
"""A small JPEG of each of some moments."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but what is in it."""
STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 2rem; color: #1c2430; background: #f6f7f9 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
ol { padding: 0; list-style: none }
li { background: #fff; border-radius: .6rem; overflow: hidden; box-shadow: 0 1px 3px #0003 }
a { color: inherit; text-decoration: none; display: block } a:focus-visible { outline: 3px solid #2563eb }
img { width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #111; display: block }
p { margin: .6rem; overflow-wrap: anywhere } small { color: #5b6472 } .note { color: #8a4b00 }
"""


def as_html(replies: Sequence[Reply], thumbnails: Thumbnails) -> str:
    """The page; whatever others have written stands in it as text."""
    answers = [answer for reply in replies for answer in reply.answers]
    pictures = dict(zip(map(id, answers), thumbnails([answer.moments[0] for answer in answers]), strict=True))
    sections = "".join(
        f"<h2>{_escaped(reply.question)}</h2>"
        + "".join(f'<p class="note">{_escaped(note)}</p>' for note in reply.notes)
        + f"<ol>{''.join(_card(answer, pictures[id(answer)]) for answer in reply.answers) or 'No answer.'}</ol>"
        for reply in replies
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width"><title>Answers</title>'
        f"<style>{STYLE}</style>{sections}</html>\n"
    )


def _card(answer: Answer, picture: bytes) -> str:
    link = f"{Path(answer.path).absolute().as_uri()}#t={answer.start:g},{answer.end:g}"
    return (
        f'<li><a href="{escape(link)}"><img alt="" src="data:image/jpeg;base64,{b64encode(picture).decode()}">'
        f"<p><b>{_escaped(Path(answer.path).name)}</b><br>{clock(answer.start)} to {clock(answer.end)}"
        f" <small>{answer.score:.3f}</small></p></a></li>"
    )


def _escaped(text: str) -> str:
    return escape(shown(text))
