"""The report as one HTML file: table and pictures inside it, fit for print, with marks beside all colours."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; color: #111; max-width: 100rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-size: 0.74rem; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.25rem 0.4rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ccc; }
  th:first-child, td:first-child { text-align: left; }
  th { border-bottom: 2px solid #111; vertical-align: bottom; }
  tr.front { font-weight: 600; background: #eef4fb; }
  tr.unfinished td { color: #555; font-style: italic; }
  figure { margin: 1.5rem 0; break-inside: avoid; }
  p { max-width: 60rem; } img { max-width: 60rem; width: 100%; height: auto; }
  @media print {
    @page { size: A4 landscape; margin: 12mm; }
    body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
    table { font-size: 6.5pt; } th, td { padding: 0.15rem 0.25rem; } tr { break-inside: avoid; }
    .wide { overflow: visible; }
  }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for fact in facts %}<p>{{ fact }}</p>
{% endfor %}
<div class="wide"><table>
<thead><tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.to_dict("records") %}
<tr class="{{ 'front' if row['Pareto'] }}{{ ' unfinished' if row['state'] != 'finished' }}">
{%- for cell in row.values() %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% for name, picture in pictures.items() %}
<figure><h2>{{ name }}</h2><img alt="{{ name }}" src="data:image/png;base64,{{ picture }}"></figure>
{% endfor %}
{% for reason in left_out %}<p>{{ reason }}</p>
{% endfor %}
</body>
</html>
"""


def page(
    title: str, facts: Sequence[str], table: pd.DataFrame, pictures: Mapping[str, Path], left_out: Sequence[str]
) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    embedded = {name: b64encode(path.read_bytes()).decode() for name, path in pictures.items()}
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    return template.render(title=title, facts=facts, table=table, pictures=embedded, left_out=left_out)
