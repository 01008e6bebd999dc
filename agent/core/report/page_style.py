"""How the page looks: light or dark as the reader's screen is, on a phone, on a desk and on paper."""

from __future__ import annotations

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --line: #d1d9e0;
  --good: #1a7f37; --doubtful: #9a6700; --bad: #c1121f; --rail: #eef1f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --line: #3d444d;
  --good: #3fb950; --doubtful: #d29922; --bad: #ff7b72; --rail: #21262d; } }
* { box-sizing: border-box; margin: 0; }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; font-weight: 600; }
header p, footer, .small, .scale { color: var(--soft); }
.small, .scale, footer { font-size: .85rem; }
footer { margin-top: 2rem; }
ul { list-style: none; padding: 0; }
li { padding: .5rem 0; border-bottom: 1px solid var(--rail); break-inside: avoid; }
dl { display: grid; grid-template-columns: 9rem 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); }
code { font: .9em ui-monospace, monospace; background: var(--rail); padding: 0 .25em; border-radius: .25em; }
.bar { height: .6rem; margin: .3rem 0; background: var(--rail); border-radius: .3rem; print-color-adjust: exact; }
.bar div { height: 100%; min-width: .3rem; border-radius: .3rem; background: currentcolor; }
.scale { display: flex; justify-content: space-between; padding-top: .25rem; }
.good { color: var(--good); }
.doubtful { color: var(--doubtful); }
.bad { color: var(--bad); }
.verdict { font-weight: 600; }
.word { display: inline-block; min-width: 6.5rem; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
"""
