"""The page: a box, filters, answers as pictures. Everything that is a file's or a user's word stands in it as text."""

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from retrieval.errors import UserError
from retrieval.search.page.desk import MOST, Desk
from retrieval.search.page.routes import Asked, invalid, reply_to
from retrieval.search.questions import LONGEST, Reply
from retrieval.search.writing import clock, shown

FOLDER = Path(__file__).parent
FONTS = ("system-ui", "sans-serif")
TEMPLATE = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;", "\\": "&#92;"})
"""What means something to the templates that Gradio puts HTML into."""
PLAYER = """
<section class="player" aria-label="The moment" hidden>
  <video controls playsinline preload="metadata" tabindex="0"></video>
  <div>
    <h2></h2><p class="times"></p><p class="trouble" role="alert"></p>
    <button type="button" data-do="more">More like this</button>
    <button type="button" data-do="tokens">What the model merged</button>
    <button type="button" data-do="close">Close</button>
  </div>
  <figure hidden><img alt="The moment's frames, and below them the tokens that their patches went into"></figure>
</section>
"""


def build_page(desk: Desk, name: str) -> gr.Blocks:
    """The page of a desk, to be mounted.

    Args:
        desk: what answers.
        name: of the index.
    """
    files = sum(row.moments > 0 and not row.vanished for row in desk.index.files.values())
    about = f"{len(desk.index.moments):,} moments of {files:,} videos in {shown(name)}"
    with gr.Blocks(title="Search your videos", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f"<header><h1>Search your videos</h1><p>{_text(about)}</p></header>", js_on_load=None)
        with gr.Row(elem_id="asking", equal_height=True):
            query = gr.Textbox(
                label="What is to be seen?", placeholder="a man rides a bike", autofocus=True, scale=8,
                max_lines=1, max_length=LONGEST, elem_id="query",
            )  # fmt: skip
            button = gr.Button("Search", variant="primary", scale=1, elem_id="search")
        with gr.Accordion("Filters", open=False), gr.Row():
            path = gr.Textbox(label="Path", placeholder="a piece of it, or a pattern with * and ?")
            after = gr.Textbox(label="File not before", placeholder="2026-01-31")
            before = gr.Textbox(label="File before", placeholder="2026-12-31")
            least = gr.Number(label="Least score", value=None, step=0.01)
            top = gr.Number(label="Answers", value=12, minimum=1, maximum=MOST, precision=0)
        found = gr.HTML(_empty(), js_on_load=(FOLDER / "page.js").read_text(encoding="utf-8"), elem_id="found")
        filters = [path, after, before, least, top]

        def ask(query: str, *filters: Any) -> str:
            return _answered(desk, query, None, *filters)

        def more(event: gr.EventData, *filters: Any) -> str:
            return _answered(desk, "", event.number, *filters)

        for event in (query.submit, button.click):
            event(ask, [query, *filters], found, api_visibility="private", show_progress="minimal")
        found.more(more, filters, found, api_visibility="private", show_progress="minimal")
    return page.queue(max_size=256, default_concurrency_limit=4)


def theme() -> gr.themes.Base:
    """Gradio's plain theme in the fonts that the system has."""
    return gr.themes.Base(primary_hue="blue", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono="monospace")


def _answered(desk: Desk, query: str, like: int | None, *filters: Any) -> str:
    path, after, before, least, top = filters
    try:
        asked = Asked(query=query, like=like, top=top, path=path, after=after, before=before, min_score=least)
        return as_html(reply_to(desk, asked))
    except UserError as error:
        return f'<p class="note" role="alert">{_text(str(error))}</p>'
    except ValidationError as error:
        return f'<p class="note" role="alert">{_text(invalid(error))}</p>'


def as_html(reply: Reply) -> str:
    """A reply with its player, which stays hidden until an answer is chosen."""
    count = len(reply.answers)
    heading = f"{count} answer{'' if count == 1 else 's'} to “{reply.question}”" if count else "No answer"
    notes = "".join(f'<p class="note" role="status">{_text(note)}</p>' for note in reply.notes)
    cards = "".join(
        f'<li><button type="button" class="answer" data-number="{answer.moments[0].number}"'
        f' data-start="{answer.start:g}" data-end="{answer.end:g}" title="{_text(answer.path)}">'
        f'<img loading="lazy" alt="" src="media/{answer.moments[0].number}/picture">'
        f'<span class="name">{_text(Path(answer.path).name)}</span>'
        f'<span class="times">{clock(answer.start)} &ndash; {clock(answer.end)}</span>'
        f'<span class="score" aria-label="score">{answer.score:.3f}</span></button></li>'
        for answer in reply.answers
    )
    return f'<p class="heading" role="status">{_text(heading)}</p>{notes}{PLAYER}<ol class="answers">{cards}</ol>'


def _empty() -> str:
    return '<p class="hint">Write what you remember of the scene and press Enter. Tab goes on to the answers.</p>'


def _text(text: str) -> str:
    return escape(shown(text)).translate(TEMPLATE)
