"use strict";
// Draws the page from the data in it. Every chart is SVG; nothing is fetched.
const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page"), tip = document.getElementById("tip");
const CLASSES = { "mac": "#4269d0", "weight memory": "#e0a30f", "activation memory": "#e8633f", "functions": "#4fae98",
  "control": "#9c6b4e", "clock": "#93b4ee", "leakage": "#8f949c", "glitch": "#9a5ee0" };
const METRICS = [["cycles", "Cycles", 0], ["lut", "LUT", 0], ["ff", "FF", 0], ["dsp", "DSP", 0], ["bram", "BRAM", 0],
  ["area_um2", "Area, um\u00b2", 0], ["energy_nj", "Energy, nJ", 3]];
const LEVELS = { model: "#7b8794", synthesis: "#2f62c0", placed: "#2f62c0", activity: "#d9622b" };

function html(tag, attributes, ...children) { return made(document.createElement(tag), attributes, children); }
function svg(tag, attributes, ...children) {
  return made(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function made(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "tip") hover(node, value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child != null) node.append(child);
  return node;
}
function hover(node, text) {
  node.addEventListener("pointermove", event => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)) + "px";
  });
  node.addEventListener("pointerleave", () => { tip.hidden = true; });
}
function number(value, decimals) {
  if (value == null) return "";
  if (decimals == null) decimals = Number.isInteger(value) ? 0 : 3;
  if (value !== 0 && decimals && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e7)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) >= 100 ? Math.min(decimals, 1) : decimals });
}
function short(value) {  // of ticks
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return `${+value.toPrecision(3)}`;
}
function cut(text, most) {  // long names differ at both ends
  const half = most >> 1;
  return text.length <= most ? text : text.slice(0, most - half - 1) + "\u2026" + text.slice(text.length - half);
}
function section(title, about, ...children) {
  const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
  return html("section", { id }, html("h2", {}, title), about ? html("p", {}, about) : null, ...children);
}
function table(heads, rows, texts = 1) {
  const cell = (tag, text, k) => html(tag, k < texts ? { class: "text" } : {}, text);
  return html("div", { class: "scroll" }, html("table", {},
    html("thead", {}, html("tr", {}, heads.map((h, k) => cell("th", h, k)))),
    html("tbody", {}, rows.map(row => html("tr", {}, row.map((c, k) => cell("td", c, k)))))));
}
function legend(entries) {
  return html("div", { class: "legend" },
    entries.map(([name, colour]) => html("span", {}, html("i", { style: `background:${colour}` }), name)));
}
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= raw * 0.999);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(+v.toPrecision(12));
  return found;
}
function label(figures) { return `${figures.level}, ${figures.target}`; }

// --- a design ------------------------------------------------------------------------------------

function cards(facts) {
  return html("div", { class: "cards" }, Object.entries(facts).map(([name, text]) =>
    html("div", { class: "card" }, html("span", {}, name), html("b", {}, text))));
}

// Boxes by rank, each rank a row; streams between them, their width by bits.
function dataflow(graph, all) {
  const WIDE = 268, TALL = 76, GAP = 34, SIDE = 24, boxes = new Map(graph.layers.map(l => [l.id, { ...l, rank: 0 }]));
  for (let pass = 0; pass < boxes.size; pass++) {
    let moved = false;
    for (const e of graph.edges) {
      const rank = boxes.get(e.from).rank + 1;
      if (boxes.get(e.to).rank < rank) boxes.get(e.to).rank = rank, moved = true;
    }
    if (!moved) break;
  }
  const rows = [];
  for (const box of boxes.values()) (rows[box.rank] ||= []).push(box);
  const place = new Map();
  rows.forEach((row, rank) => {
    for (const box of row) {
      const from = graph.edges.filter(e => e.to === box.id).map(e => place.get(e.from)).filter(v => v != null);
      box.want = from.length ? from.reduce((a, b) => a + b, 0) / from.length : 0;
    }
    row.sort((a, b) => a.want - b.want);
    row.forEach((box, k) => {
      box.x = (k - (row.length - 1) / 2) * (WIDE + SIDE);
      box.y = rank * (TALL + GAP) + (box.port === "input" ? TALL - 30 : 0);
      place.set(box.id, box.x);
    });
  });
  const list = [...boxes.values()];
  const margin = Math.max(60, ...graph.edges.map(e => boxes.get(e.to).rank - boxes.get(e.from).rank > 1 ? 190 : 0));
  const left = Math.min(...list.map(b => b.x)) - WIDE / 2 - 12;
  const right = Math.max(...list.map(b => b.x)) + WIDE / 2 + margin;
  const slowest = Math.max(...list.flatMap(b => b.units.map(u => u.cycles)), 1);
  const widest = Math.max(...graph.edges.map(e => e.width), 1);
  // In pieces of a few ranks, between which paper can break.
  const PIECE = 8, first = Math.min(...list.map(b => b.y)) - 6, last = Math.max(...list.map(b => b.y + bottom(b))) + 6;
  const pieces = [...Array(Math.ceil(rows.length / PIECE))].map((_, k) => {
    const top = k ? k * PIECE * (TALL + GAP) - GAP / 2 : first;
    const end = (k + 1) * PIECE < rows.length ? (k + 1) * PIECE * (TALL + GAP) - GAP / 2 : last;
    return svg("svg", { viewBox: `${left} ${top} ${right - left} ${end - top}`, width: right - left, height: end - top, class: "graph",
      role: "img", "aria-label": "dataflow" });
  });
  const put = (from, to, node) => {  // once in each piece that it reaches into
    const low = Math.floor(from / PIECE), high = Math.floor(to / PIECE);
    for (let k = low; k <= high; k++) pieces[k].append(node());
  };
  let lane = 0;
  for (const e of graph.edges) {
    const a = boxes.get(e.from), b = boxes.get(e.to), far = b.rank - a.rank > 1;
    const x1 = a.x + (far ? WIDE / 3 : 0), x2 = b.x + (far ? WIDE / 3 : 0), y1 = a.y + bottom(a), y2 = b.y;
    const out = Math.max(...list.filter(l => l.rank >= a.rank && l.rank <= b.rank).map(l => l.x)) + WIDE / 2 + 18
      + 9 * (far ? lane++ % 4 : 0);
    const path = far
      ? `M${x1},${y1} C${x1},${y1 + 24} ${out},${y1 + 4} ${out},${y1 + 34} V${y2 - 30} C${out},${y2 - 4} ${x2},${y2 - 22} ${x2},${y2}`
      : `M${x1},${y1} C${x1},${y1 + 18} ${x2},${y2 - 18} ${x2},${y2}`;
    const text = `${e.label} = ${e.width} bit`, leaving = graph.edges.filter(f => f.from === e.from).length > 1;
    put(a.rank, b.rank, () => svg("path", { d: path, fill: "none", stroke: "#9fb2cc",
      "stroke-width": 1.5 + 5 * Math.sqrt(e.width / widest), tip: `${e.shape}\n${text}\n${number(e.words)} words` }));
    const entering = x1 !== x2 || graph.edges.filter(f => f.to === e.to && b.rank - boxes.get(f.from).rank === 1).length > 1;
    const back = leaving ? x2 < x1 : x1 < x2;  // where streams fan out or in, at the end that is alone
    const at = far ? [out + 8, y1 + 48] : leaving ? [x2 + (back ? -9 : 9), y2 - 7] : entering ? [x1 + (back ? -9 : 9), y1 + 14]
      : [x1 + 9, (y1 + y2) / 2 + 4];
    put(a.rank, far ? a.rank : b.rank,
      () => svg("text", { x: at[0], y: at[1], class: "soft", "text-anchor": !far && (leaving || entering) && back ? "end" : "start" }, text));
  }
  for (const box of list) put(box.rank, box.rank, () => boxOf(box, all, slowest, WIDE, TALL));
  return html("div", { class: "scroll" }, pieces);
}
function bottom(box) { return box.port ? 30 : 76; }
function boxOf(box, all, slowest, WIDE, TALL) {
  const g = svg("g", { transform: `translate(${box.x - WIDE / 2},${box.y})` });
  if (box.port) {
    g.append(svg("rect", { width: WIDE, height: 30, rx: 15, fill: "#eef1f5", stroke: "#c4ccd6" }),
      svg("text", { x: WIDE / 2, y: 20, "text-anchor": "middle" }, `${box.port} ${cut(box.name, 30)}`));
    return g;
  }
  const cycles = Math.max(...box.units.map(u => u.cycles)), share = cycles / slowest;
  const lines = box.units.map(u => `${u.kind}: ${number(u.cycles)} cycles`);
  const area = measured(all).find(f => f.nodes[box.id]);
  const energy = measured(all).find(f => f.nodes[box.id] && f.nodes[box.id].energy_nj != null);
  const own = area ? area.nodes[box.id] : {};
  const sizes = [["lut", "LUT"], ["ff", "FF"], ["dsp", "DSP"], ["bram", "BRAM"], ["area_um2", "um\u00b2"]]
    .filter(([key]) => own[key] || (key === "lut" && own[key] != null)).map(([key, name]) => `${number(own[key], 0)} ${name}`);
  const spent = energy ? `${number(energy.nodes[box.id].energy_nj)} nJ` : "";
  const kinds = box.units.map(u => u.kind).filter(k => !/^(Fork|Queue|Resize)/.test(k)).join(" \u2192 ") || box.units[0].kind;
  g.append(svg("rect", { width: WIDE, height: TALL, rx: 5, fill: "#fff", stroke: share > 0.999 ? "#d9622b" : "#8c99a8" }),
    svg("rect", { x: 1, y: TALL - 5, width: Math.max(1, (WIDE - 2) * share), height: 4,
      fill: share > 0.999 ? "#d9622b" : "#7ba0e0" }),
    svg("text", { x: 10, y: 18, "font-weight": 600 }, cut(box.name, 34)),
    svg("text", { x: 10, y: 34, class: "soft", "font-size": 11 }, cut(kinds, 40)),
    svg("text", { x: 10, y: 49 }, `${number(cycles)} cycles${spent ? ", " + spent : ""}`),
    svg("text", { x: 10, y: 64, class: "soft", "font-size": 11 }, sizes.join("  ")));
  hover(g, [box.name, ...lines, sizes.join(", "), spent && `${spent} (${label(energy)})`].filter(Boolean).join("\n"));
  return g;
}

// Horizontal bars, a row for each layer; stacked by class where there are classes.
function bars(title, rows, decimals, colour) {
  const LINE = 19, NAME = 204, WIDE = 520, VALUE = 74, most = Math.max(...rows.map(r => r.value), 1e-12);
  const room = WIDE - NAME - VALUE, drawn = svg("svg", { viewBox: `0 0 ${WIDE} ${rows.length * LINE + 4}`, role: "img",
    "aria-label": title });
  rows.forEach((row, k) => {
    let x = NAME;
    const y = k * LINE + 3, text = `${row.name}\n${title}: ${number(row.value, decimals)}`;
    drawn.append(svg("text", { x: NAME - 8, y: y + 11, "text-anchor": "end", tip: text }, cut(row.name, 30)));
    const parts = row.parts ? Object.entries(row.parts) : [[null, row.value]];
    for (const [name, value] of parts) {
      const wide = room * value / most;
      drawn.append(svg("rect", { x, y, width: Math.max(wide, value ? 0.5 : 0), height: LINE - 6,
        fill: name ? CLASSES[name] || "#666" : colour,
        tip: name ? `${row.name}\n${name}: ${number(value, decimals)} nJ` : text }));
      x += wide;
    }
    drawn.append(svg("text", { x: x + 6, y: y + 11 }, number(row.value, decimals)));
  });
  return html("div", { class: "chart" }, html("h3", {}, title), drawn);
}
// By target; the best known first.
function measured(figures) {
  const order = ["placed", "synthesis", "activity", "model"], targets = [...new Set(figures.map(f => f.target))];
  return targets.flatMap(t => order.flatMap(level => figures.filter(f => f.target === t && f.level === level)));
}
function layerBars(figures) {
  const charts = [], done = new Set();
  for (const f of measured(figures)) for (const [key, name, decimals] of METRICS) {
    const energy = key === "energy_nj", tag = `${key} ${f.target}`;
    const nodes = Object.entries(f.nodes).filter(([, n]) => n[key] != null);
    if (!nodes.length || done.has(key === "cycles" ? key : tag) || !nodes.some(([, n]) => n[key])) continue;
    done.add(key === "cycles" ? key : tag);
    const rows = nodes.map(([layer, n]) => ({ name: layer, value: n[key], parts: energy ? n.energy : null }));
    const colour = key === "cycles" ? "#7ba0e0" : LEVELS[f.level];
    charts.push(bars(key === "cycles" ? name : `${name} (${label(f)})`, rows, decimals, colour));
  }
  return charts;
}

function levels(figures) {
  const known = [...METRICS, ["latency", "Latency", 0], ["delay_ps", "Path, ps", 0], ["fmax_mhz", "Clock, MHz", 1]]
    .filter(([key]) => figures.some(f => f[key] != null));
  const rows = figures.map(f => [f.target, f.level, ...known.map(([key, , d]) => number(f[key], d))]);
  for (const f of figures.filter(g => g.level === "model")) {
    const off = known.map(([key]) => {
      const levels = key === "energy_nj" ? ["activity"] : ["synthesis", "activity"];
      const other = figures.find(g => g.target === f.target && levels.includes(g.level) && g[key] != null);
      if (!other || f[key] == null || key === "cycles" || key === "latency") return "";
      return other[key] ? `${((f[key] / other[key] - 1) * 100).toFixed(1)} %` : f[key] ? "" : "0.0 %";
    });
    if (off.some(Boolean)) rows.push([f.target, "error of the model", ...off]);
  }
  return table(["target", "level", ...known.map(k => k[1])], rows, 2);
}

// --- what numbers do -----------------------------------------------------------------------------

// Magnitudes, in powers of two: what a format holds behind the quantiles of what was seen.
function ranges(layers) {
  const LINE = 21, NAME = 300, WIDE = 1080, END = 92, shown = layers.filter(l => l.sizes[6] > 0);
  const logs = shown.flatMap(l => [l.sizes[1], l.sizes[6], l.step, l.most].filter(v => v > 0).map(Math.log2));
  const low = Math.floor(Math.min(...logs)) - 1, high = Math.ceil(Math.max(...logs)) + 1;
  const at = v => NAME + (Math.max(Math.log2(v), low) - low) / (high - low) * (WIDE - NAME - END);
  const tall = shown.length * LINE + 24, drawn = svg("svg", { viewBox: `0 0 ${WIDE} ${tall}`, role: "img",
    "aria-label": "ranges" });
  for (const t of ticks(low, high, 12)) if (Number.isInteger(t)) {
    const x = at(2 ** t);
    drawn.append(svg("line", { x1: x, x2: x, y1: 0, y2: tall - 20, class: "axis" }),
      svg("text", { x, y: tall - 6, "text-anchor": "middle", class: "soft" }, `2${power(t)}`));
  }
  shown.forEach((l, k) => {
    const y = k * LINE + 3, s = l.sizes, most = l.least == null ? null : Math.max(Math.abs(l.least), Math.abs(l.most));
    const text = `${l.node} (${l.op})\n${l.tensor}\nseen ${number(l.low)} \u2026 ${number(l.high)}, ${number(100 * l.zeros, 1)} % zeros` +
      (l.least == null ? "\nsums, not rounded" : `\nrepresentable ${number(l.least)} \u2026 ${number(l.most)}, step ${number(l.step)}` +
        `\nat an end of the range: ${number(100 * l.saturated, 2)} %`);
    const g = svg("g", { tip: text }, svg("rect", { x: 0, y: y - 2, width: WIDE, height: LINE, fill: "transparent" }),
      svg("text", { x: NAME - 8, y: y + 12, "text-anchor": "end" }, cut(l.node, 40)));
    if (most) g.append(svg("rect", { x: at(l.step), y, width: at(most) - at(l.step), height: LINE - 5, fill: "#dfe5ec" }));
    const colour = most && s[6] > most * 1.0001 ? "#c0392b" : "#2f62c0";
    g.append(svg("line", { x1: at(s[1]), x2: at(s[6]), y1: y + 8, y2: y + 8, stroke: colour }),
      svg("rect", { x: at(s[2]), y: y + 3, width: Math.max(at(s[4]) - at(s[2]), 1), height: LINE - 11, fill: colour,
        "fill-opacity": 0.65 }),
      svg("line", { x1: at(s[3]), x2: at(s[3]), y1: y + 2, y2: y + 14, stroke: "#11264d", "stroke-width": 2 }),
      svg("line", { x1: at(s[6]), x2: at(s[6]), y1: y + 4, y2: y + 12, stroke: colour }));
    if (l.saturated >= 0.0005) g.append(svg("text", { x: WIDE, y: y + 12, "text-anchor": "end", class: "soft" },
      `${number(100 * l.saturated, 1)} % at end`));
    drawn.append(g);
  });
  return html("div", { class: "chart scroll" }, drawn);
}
function power(n) { return String(n).replace(/[-0-9]/g, c => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c] || "\u207b"); }

// Relative errors on a logarithmic scale, a row for each layer.
function errors(layers, threshold) {
  const LINE = 19, NAME = 330, WIDE = 1080, sides = [["error", "#2f62c0"], ["float_error", "#d9622b"]];
  const floor = 1e-9, at = v => NAME + (Math.log10(Math.min(Math.max(v, floor), 1)) + 9) / 9 * (WIDE - NAME - 20);
  const tall = layers.length * LINE + 22;
  const drawn = svg("svg", { viewBox: `0 0 ${WIDE} ${tall}`, role: "img", "aria-label": "errors" });
  for (let p = -9; p <= 0; p++) drawn.append(svg("line", { x1: at(10 ** p), x2: at(10 ** p), y1: 0, y2: tall - 20, class: "axis" }),
    svg("text", { x: at(10 ** p), y: tall - 6, "text-anchor": "middle", class: "soft" }, `10${power(p)}`));
  drawn.append(svg("line", { x1: at(threshold), x2: at(threshold), y1: 0, y2: tall - 20, stroke: "#8f949c", "stroke-dasharray": "4 3" }));
  layers.forEach((l, k) => {
    const y = k * LINE + 10;
    drawn.append(svg("text", { x: NAME - 8, y: y + 4, "text-anchor": "end" }, cut(l.node, 44)));
    for (const [key, colour] of sides) if (l[key] != null) drawn.append(svg("circle", { cx: at(l[key]), cy: y, r: 4.5, fill: colour,
      tip: `${l.node} (${l.op})\n${l.tensor}\nrelative error ${number(l[key])} against the ${key === "error" ? "model" : "float model"}` +
        (key === "error" ? `\nlargest ${number(l.max_error)}, mean ${number(l.mean_error)}` : "") }));
  });
  return html("div", { class: "chart scroll" }, legend([["against the model", sides[0][1]], ["against the float model", sides[1][1]]]),
    drawn);
}

function designPage() {
  const figures = data.figures, trace = data.trace, facts = { ...data.facts };
  const mine = figures.filter(f => f.target === figures[0].target);
  for (const f of measured(mine)) for (const [key, name, d] of METRICS)
    if (f[key] && key !== "cycles" && !facts[`${name}, ${f.target}`]) facts[`${name}, ${f.target}`] = number(f[key], d);
  page.append(html("header", {}, html("h1", {}, data.title), html("span", {}, `design report, hwgen ${data.version}`)));
  page.append(cards(facts));
  if (figures.length) page.append(section("Figures", null, levels(figures)));
  const energies = figures.filter(f => f.energy).flatMap(f => Object.keys(f.energy));
  const used = Object.entries(CLASSES).filter(([name]) => energies.includes(name));
  const charts = layerBars(figures);
  if (charts.length) page.append(section("Layers", "A layer is an ONNX node with the units that serve it.",
    used.length ? legend(used) : null, html("div", { class: "bars" }, charts)));
  page.append(section("Dataflow", "Boxes are layers; the bar below shows how much of the slowest one's time a layer is busy. " +
    "Streams are as wide as their words." + (mine.length ? ` Area and energy are those of ${mine[0].target}.` : ""), dataflow(data.graph, mine)));
  if (trace && trace.layers.length) {
    page.append(section("Errors", `Root mean square of golden's error by layer, relative to the numbers themselves, on ` +
      `${trace.samples} samples; the model by ${trace.reference}. The float model is the model without quantizers. ` +
      `The dashed line is ${number(trace.threshold)}.`, errors(trace.layers, trace.threshold)));
    page.append(section("Ranges", "Magnitudes in golden on the same samples: 5 % to largest (line), quarter to three quarters " +
      "(box), median (mark). Grey: from the format's step to the largest number it holds; without it sums that nothing has rounded.",
      ranges(trace.layers)));
  }
  if (data.notes.length) page.append(section("Notes", null, html("ul", {}, data.notes.map(n => html("li", {}, n)))));
  const ways = figures.map(f => [f.level, f.target, f.source]);
  page.append(section("How figures were obtained", "Cycles are predicted by the timing model, the same as simulated ones.",
    ways.length ? table(["level", "target", "source"], ways, 3) : null,
    data.remarks.length ? html("ul", {}, data.remarks.map(r => html("li", {}, r))) : null));
}

// --- an exploration ------------------------------------------------------------------------------

function explorationPage() {
  const about = data.about, goals = Object.entries(about.objectives), names = goals.map(g => g[0]);
  const first = names.includes("accuracy") ? "accuracy" : names[0];
  const others = names.filter(n => n !== first), state = { front: false, feasible: true, limits: {}, chosen: null };
  const fine = data.points.filter(p => names.every(n => p.objectives[n] != null));
  const front = fine.filter(p => p.pareto), verified = fine.filter(p => p.verified);
  page.append(html("header", {}, html("h1", {}, data.title), html("span", {}, `exploration report, hwgen ${data.version}`)));
  page.append(cards({ "points": number(data.points.length), "feasible": number(fine.filter(p => p.feasible).length),
    "on the front": number(front.length),
    "verified": `${number(verified.filter(p => p.verified.matched).length)} of ${number(verified.length)} tried`,
    "target": about.target || "" }));
  const fronts = html("div", { class: "fronts" }), list = html("div", {}), filters = html("div", { class: "filters" });
  const check = (text, key) => html("label", {}, html("input", { type: "checkbox", ...(state[key] ? { checked: "" } : {}),
    onchange: e => { state[key] = e.target.checked; draw(); } }), ` ${text}`);
  filters.append(check("feasible only", "feasible"), check("front only", "front"));
  for (const [name, goal] of goals) {
    const values = fine.map(p => p.objectives[name]).sort((a, b) => a - b);
    if (!values.length || values[0] === values[values.length - 1]) continue;
    const most = values.length - 1, start = goal === "max" ? 0 : most, shown = html("output", {}, number(values[start]));
    state.limits[name] = values[start];
    filters.append(html("label", {}, `${name} ${goal === "max" ? "\u2265" : "\u2264"} `, html("input", { type: "range", min: 0, max: most,
      value: start, oninput: e => { state.limits[name] = values[+e.target.value]; shown.textContent = number(values[+e.target.value]); draw(); } }),
      " ", shown));
  }
  const allowed = p => (!state.feasible || p.feasible) && (!state.front || p.pareto) && goals.every(([name, goal]) =>
    state.limits[name] == null || (goal === "max" ? p.objectives[name] >= state.limits[name] : p.objectives[name] <= state.limits[name]));
  function draw() {
    const points = fine.filter(allowed);
    fronts.replaceChildren(...others.map(name => scatter(points, name, first, about.objectives, state, draw)));
    list.replaceChildren(pointTable(points.filter(p => p.pareto), names, state, draw));
  }
  page.append(section("Pareto fronts", "Every mark is a design point; filled ones are on the front of all objectives together, ringed ones " +
    "were built, simulated and synthesized. Select a mark to find it in all charts.",
    filters, legend([["on the front", "#2f62c0"], ["other", "#b8c2cd"], ["not feasible", "#e6b8a8"], ["verified, bit-exact", "#1d8a5f"]]), fronts));
  page.append(section("Points on the front", "Point N is pareto/N.toml. Figures are those of the model level; verified ones were measured too.", list));
  if (verified.length) page.append(section("Verified points", null, verifiedTable(verified)));
  const ways = Object.entries({ model: about.model, data: about.data, target: about.target,
    constraints: (about.constraints || []).join(", ") || null, metric: about.metric,
    space: about.space == null ? null : typeof about.space === "string" ? about.space : JSON.stringify(about.space) })
    .filter(w => w[1] != null).map(([k, v]) => [k, String(v)]);
  const sources = [...new Set(data.points.flatMap(p => [p.figures, p.verified && p.verified.figures]).filter(Boolean)
    .map(f => JSON.stringify([`${f.level}, ${f.target}`, f.source])))].map(s => JSON.parse(s)).filter(s => s[1]);
  page.append(section("How figures were obtained", null, table(["what", "source"], [...ways, ...sources], 2)));
  draw();
}
const UNITS = { energy: "nJ", area: "\u00b5m\u00b2", interval: "cycles", latency: "cycles" };
function titled(name) { return UNITS[name] ? `${name}, ${UNITS[name]}` : name; }
function describe(p, names) {
  const lines = names.map(n => `${titled(n)}: ${number(p.objectives[n])}`), set = Object.entries(p.point).map(([k, v]) => `${k} = ${v}`);
  const state = [p.pareto ? "on the front" : null, p.feasible ? null : "not feasible",
    p.verified ? (p.verified.matched ? `bit-exact on ${p.verified.samples} samples` : "NOT bit-exact") : null].filter(Boolean);
  return [`point ${p.number}`, ...lines, "", ...set, ...(state.length ? ["", state.join(", ")] : [])].join("\n");
}
function scatter(points, xs, ys, goals, state, redraw) {
  const WIDE = 500, TALL = 330, LEFT = 56, BOTTOM = 42, x = points.map(p => p.objectives[xs]), y = points.map(p => p.objectives[ys]);
  const drawn = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, class: "scatter", role: "img", "aria-label": `${ys} against ${xs}` });
  const box = html("div", { class: "chart" }, html("h3", {}, `${ys} against ${xs}`), drawn);
  if (!points.length) { drawn.append(svg("text", { x: WIDE / 2, y: TALL / 2, "text-anchor": "middle", class: "soft" }, "no point left")); return box; }
  const spread = (v, wide) => { const a = Math.min(...v), b = Math.max(...v), pad = (b - a || Math.abs(b) || 1) * wide; return [a - pad, b + pad]; };
  const log = Math.min(...x) > 0 && Math.max(...x) / Math.min(...x) > 20, scale = log ? Math.log10 : v => v;
  const [x0, x1] = spread(x.map(scale), 0.05), [y0, y1] = spread(y, 0.06);
  const px = v => LEFT + (scale(v) - x0) / (x1 - x0) * (WIDE - LEFT - 12), py = v => 8 + (y1 - v) / (y1 - y0) * (TALL - BOTTOM - 8);
  const marks = log ? [1, 2, 5].flatMap(m => [...Array(12)].map((_, k) => m * 10 ** (k - 3))).filter(v => scale(v) >= x0 && scale(v) <= x1) : ticks(x0, x1, 6);
  for (const t of marks) drawn.append(svg("line", { x1: px(t), x2: px(t), y1: 8, y2: TALL - BOTTOM, class: "axis" }),
    svg("text", { x: px(t), y: TALL - BOTTOM + 15, "text-anchor": "middle", class: "soft" }, short(t)));
  for (const t of ticks(y0, y1, 6)) drawn.append(svg("line", { x1: LEFT, x2: WIDE - 12, y1: py(t), y2: py(t), class: "axis" }),
    svg("text", { x: LEFT - 6, y: py(t) + 4, "text-anchor": "end", class: "soft" }, short(t)));
  drawn.append(svg("text", { x: (LEFT + WIDE) / 2, y: TALL - 6, "text-anchor": "middle" }, titled(xs)));
  // The front of these two alone, as steps.
  const sx = goals[xs] === "max" ? -1 : 1, sy = goals[ys] === "max" ? -1 : 1, steps = [];
  let best = Infinity;
  for (const p of points.filter(q => q.feasible).sort((a, b) => sx * (a.objectives[xs] - b.objectives[xs]) || sy * (a.objectives[ys] - b.objectives[ys])))
    if (sy * p.objectives[ys] < best) best = sy * p.objectives[ys], steps.push(p);
  if (steps.length > 1) drawn.append(svg("path", { fill: "none", stroke: "#2f62c0", "stroke-opacity": 0.5, d: steps.map((p, k) =>
    k ? `H${px(p.objectives[xs])}V${py(p.objectives[ys])}` : `M${px(p.objectives[xs])},${py(p.objectives[ys])}`).join("") }));
  for (const p of [...points].sort((a, b) => a.pareto - b.pareto)) {
    const colour = !p.feasible ? "#e6b8a8" : p.pareto ? "#2f62c0" : "#b8c2cd", on = state.chosen === p.number;
    const ring = on ? "#d9622b" : p.verified ? (p.verified.matched ? "#1d8a5f" : "#c0392b") : "none";
    drawn.append(svg("circle", { cx: px(p.objectives[xs]), cy: py(p.objectives[ys]), r: on ? 8 : p.pareto ? 5 : 3.5, fill: colour, stroke: ring,
      "stroke-width": 2.5, "fill-opacity": p.pareto ? 0.9 : 0.75, class: "mark", tip: describe(p, Object.keys(goals)),
      onclick: () => { state.chosen = on ? null : p.number; redraw(); } }));
  }
  return box;
}
function pointTable(points, names, state, redraw) {
  const rows = [...points].sort((a, b) => a.number - b.number);
  const keys = [...new Set(rows.flatMap(p => Object.keys(p.point)))];
  const made = table(["point", "verified", ...names.map(titled), ...keys], rows.map(p => [number(p.number),
    p.verified ? (p.verified.matched ? "bit-exact" : "differs") : "", ...names.map(n => number(p.objectives[n])),
    ...keys.map(k => p.point[k] == null ? "" : String(p.point[k]))]), 2);
  made.querySelectorAll("tbody tr").forEach((row, k) => {
    if (rows[k].number === state.chosen) row.classList.add("on");
    row.addEventListener("click", () => { state.chosen = rows[k].number; redraw(); });
  });
  return made;
}
function verifiedTable(points) {
  const keys = METRICS.filter(([key]) => points.some(p => p.verified.figures && p.verified.figures[key] != null));
  return table(["point", "hardware", "samples", ...keys.flatMap(([, name]) => [`${name}, modelled`, "measured"])], points.map(p => [
    number(p.number), p.verified.matched ? "bit-exact" : "differs", number(p.verified.samples),
    ...keys.flatMap(([key, , d]) => [number(p.figures && p.figures[key], d), number(p.verified.figures && p.verified.figures[key], d)])]), 2);
}

document.title = `${data.title} \u2013 hwgen`;
if (data.kind === "design") designPage(); else explorationPage();
