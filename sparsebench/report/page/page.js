"use strict";
// The page of a report: charts, keys, tables and the view that its address holds.

const contents = JSON.parse(document.getElementById("contents").textContent);
const algorithms = contents.algorithms;
const charts = []; // each: {node, draw}
const tables = []; // each: a function that fills one
const MARKERS = {o: "circle", s: "square", D: "diamond", "^": "triangle-up", v: "triangle-down",
  P: "cross", X: "x", "*": "star", "<": "triangle-left", ">": "triangle-right", h: "hexagon",
  d: "diamond-tall"};
// The same markers in the keys, around (0, 0).
const SHAPES = {o: "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", s: "M-3.5-3.5h7v7h-7Z",
  D: "M0-5L5 0L0 5L-5 0Z", "^": "M0-4.5L4.5 4H-4.5Z", v: "M0 4.5L4.5-4H-4.5Z",
  P: "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z", X: "M-4-2.5L-2.5-4L0-1.5L2.5-4L4-2.5L1.5 0L4 2.5"
  + "L2.5 4L0 1.5L-2.5 4L-4 2.5L-1.5 0Z", "*": "M0-5L1.3-1.6L4.8-1.5L2 .7L3 4.2L0 2.2L-3 4.2L-2 .7"
  + "L-4.8-1.5L-1.3-1.6Z", "<": "M-4.5 0L4-4.5V4.5Z", ">": "M4.5 0L-4-4.5V4.5Z",
  h: "M-2.2-4H2.2L4.5 0L2.2 4H-2.2L-4.5 0Z", d: "M0-5L3 0L0 5L-3 0Z"};
const DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"};
const levels = [...new Set(contents.folders.flatMap((f) => f.thresholds?.columns.level ?? []))]
  .sort((a, b) => b - a);

// The view: what a link restores.
const view = {hidden: new Set(), level: levels[0], group: "family", theme: preferred(),
  sort: "", pair: ["", ""]};

function preferred() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function restore() {
  const given = new URLSearchParams(location.hash.slice(1));
  const names = new Set(algorithms.map((a) => a.label));
  view.hidden = new Set(given.getAll("hide").filter((name) => names.has(name)));
  if (levels.includes(Number(given.get("level")))) view.level = Number(given.get("level"));
  if (["family", "told"].includes(given.get("group"))) view.group = given.get("group");
  if (["dark", "light"].includes(given.get("theme"))) view.theme = given.get("theme");
  view.sort = given.get("sort") ?? "";
  view.pair = [given.get("first"), given.get("other")].map((name) => names.has(name) ? name : "");
}

function keep() {
  const kept = new URLSearchParams();
  for (const name of view.hidden) kept.append("hide", name);
  if (view.level !== levels[0]) kept.set("level", view.level);
  if (view.group !== "family") kept.set("group", view.group);
  if (view.theme !== preferred()) kept.set("theme", view.theme);
  if (view.sort) kept.set("sort", view.sort);
  if (view.pair[0]) kept.set("first", view.pair[0]);
  if (view.pair[1]) kept.set("other", view.pair[1]);
  history.replaceState(null, "", "#" + kept);
}

function show() {
  keep();
  document.documentElement.dataset.theme = view.theme;
  drawBar();
  drawKeys();
  for (const chart of charts) chart.draw();
  for (const fill of tables) fill();
}

// Small things.

function element(tag, about = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function escaped(text) { // for plotly, which reads a little HTML
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function number(value, digits = 4) {
  if (value == null) return "";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
  return String(Number(value.toPrecision(Number.isInteger(value) ? 15 : digits)));
}

function percent(level) {
  return `${number(100 * level, 6)} %`;
}

function colour(place) {
  const hex = algorithms[place].colour;
  if (view.theme === "light") return hex;
  const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const share = Math.max(...parts) < 60 ? 0.85 : 0.35;
  return "#" + parts.map((p) => Math.round(p + (255 - p) * share).toString(16).padStart(2, "0"))
    .join("");
}

function seen(place) {
  return !view.hidden.has(algorithms[place].label);
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function marks(algorithm) { // as in the legends of the pictures
  const told = algorithm.told.split(",").filter(Boolean);
  const others = told.filter((what) => !["k", "training"].includes(what)).join(" and ");
  const found = told.includes("training") ? ["trained"] : [];
  if (!algorithm.told) return "";
  if (told.includes("k")) { if (others) found.push(`also told ${others}`); }
  else found.push(others ? `told ${others}, not k` : "not told k");
  return found.join(", ");
}

function rowsOf(columns, keepRow) { // indices
  const found = [];
  for (let i = 0; i < columns.algorithm.length; i++) if (keepRow(i)) found.push(i);
  return found;
}

// The keys: what is drawn, by family or by what it is told.

function drawBar() {
  const bar = document.getElementById("bar");
  const choice = (label, value, values, set) => element("label", {}, label, element("select",
    {onchange: (event) => { set(event.target.value); show(); }},
    ...values.map(([key, text]) => element("option", {value: key, selected: key === value}, text))));
  const parts = [];
  if (levels.length > 1) {
    parts.push(choice("success rate", String(view.level),
      levels.map((level) => [String(level), percent(level)]), (v) => { view.level = Number(v); }));
  }
  parts.push(choice("grouped by", view.group, [["family", "family"], ["told", "what they are told"]],
    (v) => { view.group = v; }));
  parts.push(element("button", {type: "button", onclick: () => { view.hidden.clear(); show(); }},
    "show all"));
  parts.push(element("button", {type: "button", "aria-pressed": String(view.theme === "dark"),
    onclick: () => { view.theme = view.theme === "dark" ? "light" : "dark"; show(); }}, "dark"));
  parts.push(element("a", {href: location.href, id: "link"}, "link to this view"));
  replaceKeepingFocus(bar, parts);
}

function replaceKeepingFocus(parent, children) {
  const had = [...parent.querySelectorAll("button, select")].indexOf(document.activeElement);
  parent.replaceChildren(...children);
  if (had >= 0) parent.querySelectorAll("button, select")[had]?.focus();
}

function drawKeys() {
  const groups = new Map();
  for (const algorithm of algorithms) {
    const told = algorithm.told.split(",").filter(Boolean).join(", ");
    const group = view.group === "told" ? (told ? `told ${told}` : "in no curve")
      : algorithm.family || "in no curve";
    groups.set(group, [...(groups.get(group) ?? []), algorithm]);
  }
  const parts = [];
  for (const [group, members] of groups) {
    parts.push(element("h3", {}, group), ...members.map(key));
  }
  replaceKeepingFocus(document.getElementById("keys"), parts);
}

function key(algorithm) {
  const {label, place} = algorithm;
  const hidden = view.hidden.has(label);
  const alone = algorithms.every((other) => view.hidden.has(other.label) === (other !== algorithm));
  const about = marks(algorithm);
  const toggle = () => { hidden ? view.hidden.delete(label) : view.hidden.add(label); show(); };
  const isolate = () => {
    view.hidden = new Set(alone ? [] : algorithms.map((a) => a.label).filter((l) => l !== label));
    show();
  };
  return element("div", {class: "key", "data-hidden": hidden, "data-label": label},
    element("button", {class: "name", type: "button", "aria-pressed": String(!hidden),
      onclick: toggle}, sample(place), element("span", {}, about ? `${label} (${about})` : label)),
    element("button", {class: "only", type: "button", "aria-pressed": String(alone),
      "aria-label": `only ${label}`, onclick: isolate}, "only"));
}

function sample(place) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of [["width", 26], ["height", 12], ["aria-hidden", "true"]]) {
    svg.setAttribute(name, value);
  }
  const line = document.createElementNS(space, "line");
  const dash = {"-": "", "--": "6 3", ":": "1.5 2.5", "-.": "6 2 1.5 2"}[algorithms[place].dash];
  const about = {x1: 0, x2: 26, y1: 6, y2: 6, stroke: colour(place), "stroke-width": 2,
    "stroke-dasharray": dash};
  const point = document.createElementNS(space, "path");
  const shape = {d: SHAPES[algorithms[place].marker], fill: colour(place),
    transform: "translate(13 6)"};
  for (const [node, given] of [[line, about], [point, shape]]) {
    for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
    svg.append(node);
  }
  return svg;
}

// Charts.

function layout(x, y, more = {}) {
  const axis = {gridcolor: css("--line"), linecolor: css("--muted"), zeroline: false,
    automargin: true, ticks: "outside", tickcolor: css("--muted")};
  return {
    paper_bgcolor: css("--ground"), plot_bgcolor: css("--ground"), showlegend: false,
    font: {color: css("--text"), size: 12, family: getComputedStyle(document.body).fontFamily},
    margin: {l: 55, r: 12, t: 30, b: 45}, hovermode: "closest",
    hoverlabel: {align: "left", namelength: -1},
    xaxis: {...axis, title: {text: x}, ...more.xaxis},
    yaxis: {...axis, title: {text: y}, rangemode: "tozero", ...more.yaxis},
  };
}

function card(title, about, draw) {
  const node = element("div", {class: "chart", role: "img",
    "aria-label": `${title}; its numbers are in the table of points below`});
  document.getElementById("cards").append(
    element("section", {class: "card"}, element("h3", {}, title), node,
      element("p", {class: "small"}, about)));
  const file = title.replaceAll(/[^\w.-]+/g, "-").slice(0, 60);
  const config = {responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: {format: "svg", filename: file}};
  charts.push({node, draw: async () => {
    await Plotly.react(node, ...draw(), config);
    node.querySelector(".modebar")?.setAttribute("aria-label", "tools of the chart");
    for (const tool of node.querySelectorAll(".modebar-btn")) {
      tool.setAttribute("aria-label", tool.dataset.title); // not done by every plotly
    }
  }});
}

function curves(columns, keepRow, x, scale, hover) {
  const traces = [];
  const places = [...new Set(columns.algorithm)].filter(seen);
  for (const place of places) {
    const rows = rowsOf(columns, (i) => keepRow(i) && columns.algorithm[i] === place
      && columns.estimate[i] != null);
    if (!rows.length) continue;
    const look = algorithms[place];
    const xs = rows.map(x);
    const at = (name) => rows.map((i) => columns[name][i] * scale(i));
    traces.push({x: [...xs, ...xs.toReversed()], y: [...at("upper"), ...at("lower").toReversed()],
      fill: "toself", mode: "lines", line: {width: 0.5, color: colour(place)}, opacity: 0.6,
      fillcolor: colour(place) + "26", hoverinfo: "skip"});
    traces.push({x: xs, y: at("estimate"), mode: "lines+markers", name: escaped(look.label),
      line: {color: colour(place), dash: DASHES[look.dash], width: 2},
      marker: {symbol: MARKERS[look.marker], size: 6}, text: rows.map((i) => escaped(hover(i))
        .replaceAll("\n", "<br>")), hovertemplate: "<b>%{fullData.name}</b><br>%{text}<extra></extra>"});
  }
  return traces;
}

function aboutText(about, names) {
  const sizes = names.map((name) => `${name} = ${about[name]}`);
  const made = about.recipe ? [`recipe ${about.recipe.slice(0, 8)}`, `sparsebench ${about.version}`] : [];
  return [...sizes, ...about.options, `seed ${about.seed}`, ...made].join(" · ");
}

function where(folder) {
  return contents.folders.length > 1 ? ` (${folder.name})` : "";
}

function drawFolder(folder) {
  if (folder.thresholds) {
    const {columns, about, limit} = folder.thresholds;
    const lines = () => {
      const hover = (i) => `m/n = ${number(columns.m[i] / about.n)} (m = ${columns.m[i]})\n`
        + `k = ${number(columns.estimate[i], 6)} [${number(columns.lower[i], 6)}, ${number(columns.upper[i], 6)}]\n`
        + `k/m = ${number(columns.estimate[i] / columns.m[i])}\n${columns.trials[i]} solves`
        + (columns.time_outs?.[i] ? `, ${columns.time_outs[i]} time-outs` : "")
        + (columns.coverage?.[i] ? `\ninterval: ${columns.coverage[i]}` : "");
      const theory = limit && {x: limit.x, y: limit.y, mode: "lines", name: "limit of l1 minimisation",
        line: {color: css("--muted"), dash: "dot", width: 1.5},
        hovertemplate: "limit of l1 minimisation<br>m/n = %{x}, k/m = %{y}<extra></extra>"};
      const drawn = curves(columns, (i) => columns.level[i] === view.level,
        (i) => columns.m[i] / about.n, (i) => 1 / columns.m[i], hover);
      return [theory ? [theory, ...drawn] : drawn, layout("undersampling ratio m/n", "sparsity ratio k/m",
        {xaxis: {range: [0, 1]}})];
    };
    card(`Phase transition: ${about.problem}${where(folder)}`,
      `success is ${about.success} · ${aboutText(about, ["n"])}`, lines);
  }
  if (folder.distances) {
    const {columns, about} = folder.distances;
    const lines = () => {
      const hover = (i) => `k = ${columns.k[i]}\nmean support distance ${number(columns.estimate[i], 6)} `
        + `[${number(columns.lower[i], 6)}, ${number(columns.upper[i], 6)}]\n${columns.trials[i]} trials`
        + (columns.failures?.[i] ? `, ${columns.failures[i]} failures` : "");
      return [curves(columns, () => true, (i) => columns.k[i], () => 1, hover),
        layout("sparsity k", "mean support distance")];
    };
    card(`Support distance: ${about.problem}${where(folder)}`,
      aboutText(about, ["n", "m"]), lines);
  }
  if (folder.times) {
    const {columns} = folder.times;
    for (const workload of new Set(columns.workload)) {
      card(`Time and recovery: ${workload}${where(folder)}`,
        "Median seconds of a solve with quartiles, against the share of supports recovered; up and "
        + "to the left is better.", () => [times(columns, workload),
          layout("time of a solve", "share of supports recovered",
            {xaxis: {type: "log", dtick: 1, tickformat: "~s", ticksuffix: "s"}, yaxis: {range: [-0.03, 1.05]}})]);
    }
  }
}

function times(columns, workload) {
  return rowsOf(columns, (i) => columns.workload[i] === workload && seen(columns.algorithm[i])
    && columns.seconds[i] != null).map((i) => {
    const place = columns.algorithm[i];
    return {x: [columns.seconds[i]], y: [columns.exact[i]], mode: "markers",
      name: escaped(algorithms[place].label),
      marker: {symbol: MARKERS[algorithms[place].marker], size: 9, color: colour(place)},
      error_x: {type: "data", symmetric: false, array: [columns.upper_quartile[i] - columns.seconds[i]],
        arrayminus: [columns.seconds[i] - columns.lower_quartile[i]], color: colour(place), thickness: 1},
      hovertemplate: "<b>%{fullData.name}</b><br>%{x:.3s}s, recovered %{y:.0%}<extra></extra>"};
  });
}

// Tables.

function table(parent, caption, head) { // head: [name, title, class]
  const body = element("tbody");
  const titles = head.map(([name, title, kind]) => name
    ? element("th", {scope: "col", class: kind, "data-name": name}, element("button",
      {type: "button", onclick: () => {
        view.sort = view.sort === `${name}:up` ? `${name}:down` : `${name}:up`;
        show();
      }}, title))
    : element("th", {scope: "col", class: kind}, title));
  const whole = element("table", {"aria-label": caption},
    element("thead", {}, element("tr", {}, ...titles)), body);
  parent.append(element("div", {class: "scroll", role: "region", tabindex: 0, "aria-label": caption},
    whole));
  return {body, titles};
}

function section(title, ...about) {
  const node = element("section", {}, element("h2", {}, title),
    ...about.map((text) => element("p", {class: "small"}, text)));
  document.getElementById("sections").append(node);
  return node;
}

function pointRows() {
  const rows = [];
  for (const folder of contents.folders) {
    for (const [kind, part] of [["diagram", folder.thresholds], ["distance", folder.distances]]) {
      if (!part) continue;
      const {columns, about} = part;
      for (const i of rowsOf(columns, (i) => seen(columns.algorithm[i])
        && (kind === "distance" || columns.level[i] === view.level))) {
        const algorithm = algorithms[columns.algorithm[i]];
        rows.push({kind: kind === "diagram" ? `k at ${percent(columns.level[i])}` : "distance",
          folder: folder.name, algorithm: algorithm.label, told: algorithm.told,
          problem: about.problem, n: about.n, m: columns.m ? columns.m[i] : about.m,
          k: columns.k ? columns.k[i] : null, estimate: columns.estimate[i],
          lower: columns.lower[i], upper: columns.upper[i], trials: columns.trials[i],
          failed: columns.failures?.[i] ?? columns.time_outs?.[i] ?? null,
          remark: [columns.stopped?.[i], columns.coverage?.[i]].filter(Boolean).join(", ")});
      }
    }
  }
  return rows;
}

function drawPoints() {
  if (!contents.folders.some((folder) => folder.thresholds || folder.distances)) return;
  const node = section("Points", "What the curves above are drawn from, of the algorithms that are "
    + "shown; a name sorts. Failures of a distance curve are solves without an estimate, those of "
    + "a diagram the ones that ran out of time.");
  const words = ["algorithm", "problem", "told", "kind", "folder", "remark"];
  const names = ["algorithm", "told", "problem", "kind", "n", "m", "k", "estimate", "lower", "upper",
    "trials", "failed", "remark", ...(contents.folders.length > 1 ? ["folder"] : [])];
  const {body, titles} = table(node, "Points of the curves",
    names.map((name) => [name, name, words.includes(name) ? "words" : ""]));
  tables.push(() => {
    const rows = pointRows();
    const [by, direction] = view.sort.split(":");
    if (names.includes(by)) {
      const sign = direction === "down" ? -1 : 1;
      rows.sort((a, b) => (a[by] == null) - (b[by] == null) || sign * (words.includes(by)
        ? a[by].localeCompare(b[by]) : a[by] - b[by]));
    }
    for (const title of titles) {
      title.setAttribute("aria-sort", title.dataset.name !== by ? "none"
        : direction === "down" ? "descending" : "ascending");
    }
    body.replaceChildren(...rows.map((row) => element("tr", {}, ...names.map((name) =>
      element("td", {class: words.includes(name) ? "words" : false},
        words.includes(name) ? row[name] : number(row[name], 6))))));
  });
}

function drawPairs() {
  const pairs = contents.folders.flatMap((f) => (f.pairs ?? []).map((p) => ({...p, folder: f.name})));
  const known = algorithms.filter((a) => pairs.some((p) => p.algorithms.includes(a.place)));
  if (known.length < 2) return;
  const node = section("Two algorithms on the same instances", "Of the instances that both have "
    + "solved: those on which one alone found the support, and McNemar's exact p-value that either "
    + "does so equally often, for each row by itself, not adjusted for their number. Of a curve of "
    + "support distances also the mean difference, first less other.");
  const chooser = element("div", {class: "bar"});
  node.append(chooser);
  const head = ["problem", "n", "m", "k", "shared", "only first", "only other", "p", "difference",
    "interval"];
  const {body} = table(node, "Paired comparison",
    head.map((name) => ["", name, name === "problem" ? "words" : ""]));
  tables.push(() => {
    const labels = known.map((a) => a.label);
    const [first, other] = [view.pair[0] || labels[0],
      view.pair[1] || labels.find((label) => label !== (view.pair[0] || labels[0]))];
    replaceKeepingFocus(chooser, [0, 1].map((side) => element("label", {}, ["first", "other"][side],
      element("select", {onchange: (event) => {
        view.pair = [first, other];
        view.pair[side] = event.target.value;
        show();
      }}, ...labels.map((label) => element("option",
        {value: label, selected: label === [first, other][side]}, label))))));
    const rows = [];
    for (const cell of pairs) {
      const places = [first, other].map((label) => known.find((a) => a.label === label).place);
      const [i, j] = places.map((place) => cell.algorithms.indexOf(place));
      if (i < 0 || j < 0 || i === j) continue;
      const at = pairIndex(Math.min(i, j), Math.max(i, j), cell.algorithms.length);
      if (!cell.shared[at]) continue;
      const [one, two] = i < j ? [cell.only_first, cell.only_other]
        : [cell.only_other, cell.only_first];
      const sign = i < j ? 1 : -1;
      const ends = cell.lower?.[at] == null ? [] : [sign * cell.lower[at], sign * cell.upper[at]]
        .sort((a, b) => a - b);
      rows.push([cell.problem, cell.n, cell.m, cell.k ?? "all", cell.shared[at], one[at], two[at],
        number(cell.p_mcnemar[at]), cell.difference?.[at] == null ? ""
          : number(sign * cell.difference[at]), ends.length ? `[${ends.map((e) => number(e)).join(", ")}]` : ""]);
    }
    body.replaceChildren(...rows.map((row) => element("tr", {}, ...row.map((text, column) =>
      element("td", {class: column ? false : "words"}, String(text))))));
  });
}

function pairIndex(i, j, count) {
  return i * count - i * (i + 1) / 2 + j - i - 1;
}

function drawFailures() {
  const rows = contents.folders.flatMap((folder) => {
    const failures = folder.failures;
    return failures ? failures.algorithm.map((place, i) => [algorithms[place].label,
      failures.status[i], failures.count[i], failures.of[i], failures.message[i]]) : [];
  });
  const kept = contents.folders.some((folder) => folder.failures);
  if (!kept) return;
  const node = section("Failures", rows.length ? "Solves without an estimate; they count as not "
    + "recovered, with distance 1." : "None: every solve gave an estimate.");
  if (!rows.length) return;
  const {body} = table(node, "Failures", [["", "algorithm", "words"], ["", "status", "words"],
    ["", "solves", ""], ["", "of", ""], ["", "message", "words"]]);
  body.append(...rows.map((row) => element("tr", {}, ...row.map((text, column) => element("td",
    {class: column === 4 ? "words long" : [0, 1].includes(column) ? "words" : false},
    String(text))))));
}

function drawMaking() {
  const node = section("To make it anew");
  for (const folder of contents.folders) {
    if (contents.folders.length > 1) node.append(element("h3", {}, folder.name));
    const commands = [folder.thresholds, folder.distances].map((part) => part?.about.command);
    for (const command of commands.filter(Boolean)) node.append(element("pre", {}, command));
    for (const run of folder.runs ?? []) {
      node.append(element("h3", {}, `run of ${run.started}, to ${run.finished}`),
        element("pre", {}, run.command), element("dl", {}, ...Object.entries(run.environment)
          .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {},
            typeof value === "object" ? JSON.stringify(value) : String(value))])));
    }
  }
}

restore();
contents.folders.forEach(drawFolder);
drawPoints();
drawPairs();
drawFailures();
drawMaking();
show();
addEventListener("hashchange", () => { restore(); show(); });
