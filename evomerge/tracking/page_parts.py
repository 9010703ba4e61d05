"""The style sheet and the script of the front's page."""

from evomerge.tracking.style import BASELINE, FONT, FRONT, GRID, INK, MISSED, MUTED

STYLE = f"""
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f8fafc; color: {INK}; font: 15px/1.5 {FONT}; }}
main {{ max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }}
.brand {{ margin: 0; color: {FRONT}; font-weight: 700; letter-spacing: .02em; }}
h1 {{ margin: 2px 0 6px; font-size: 30px; line-height: 1.2; letter-spacing: -.01em; }}
h2 {{ margin: 0; font-size: 18px; }}
.lead {{ margin: 0 0 20px; max-width: 105ch; color: #475569; }}
.missed {{ color: {MISSED}; font-weight: 600; }}
.hint {{ margin: 2px 0 10px; color: {MUTED}; font-size: 14px; }}
section {{ background: white; border: 1px solid {GRID}; border-radius: 14px; padding: 18px 22px;
  margin: 0 0 18px; box-shadow: 0 1px 2px rgba(15, 23, 42, .04); }}
.bar {{ display: flex; justify-content: space-between; align-items: center; }}
.switch button {{ font: inherit; font-size: 14px; padding: 4px 14px; color: {INK};
  border: 1px solid {GRID}; background: white; cursor: pointer; }}
.switch button:first-child {{ border-radius: 8px 0 0 8px; }}
.switch button:last-child {{ border-radius: 0 8px 8px 0; margin-left: -1px; }}
.switch button:only-child {{ border-radius: 8px; }}
.switch button.on {{ background: {FRONT}; border-color: {FRONT}; color: white; }}
#chosen {{ font: 15px ui-monospace, 'Liberation Mono', monospace; color: {FRONT};
  margin-left: 6px; }}
#heat, .scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 5px 10px; text-align: right; white-space: nowrap; }}
th {{ color: {MUTED}; font-weight: 600; font-size: 13px; }}
thead tr:first-child th {{ text-align: center; padding-bottom: 0; }}
thead tr:last-child th {{ border-bottom: 2px solid {GRID}; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.front td:first-child {{ font-family: ui-monospace, 'Liberation Mono', monospace;
  color: {FRONT}; }}
tr.baseline td:first-child {{ color: {BASELINE}; }}
tbody + tbody tr:first-child td {{ border-top: 2px solid {GRID}; }}
tbody tr {{ cursor: pointer; }}
tbody tr:hover td {{ background: #f8fafc; }}
tbody tr.on td {{ background: #eef2ff; }}
small {{ color: {MUTED}; font-size: 12px; }}
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const config = {displaylogo: false, responsive: true,
  modeBarButtons: [['zoom2d', 'pan2d', 'resetScale2d', 'toImage']]};
function draw(name, phase) {
  const box = document.getElementById(name);
  if (!box || !data[name]) return;
  const figure = data[name][phase];
  Plotly.react(box, figure.data, figure.layout, config).then(() => {
    if (box.dataset.ready) return;
    box.dataset.ready = 'yes';
    box.on('plotly_click', (event) => choose(event.points[0].customdata));
  });
}
function show(phase) {
  for (const button of document.querySelectorAll('.switch button'))
    button.classList.toggle('on', button.dataset.phase === phase);
  draw('front', phase);
  draw('coordinates', phase);
}
function choose(id) {
  const figure = data.heat[id];
  if (!figure) return;
  const name = data.names[id];
  document.getElementById('chosen').textContent = name;
  Plotly.react('heat', figure.data, figure.layout, {displayModeBar: false});
  for (const row of document.querySelectorAll('tbody tr'))
    row.classList.toggle('on', row.dataset.id === id);
}
for (const button of document.querySelectorAll('.switch button'))
  button.addEventListener('click', () => show(button.dataset.phase));
for (const row of document.querySelectorAll('tbody tr'))
  row.addEventListener('click', () => choose(row.dataset.id));
show(document.querySelector('.switch button').dataset.phase);
if (data.first) choose(data.first);
"""
