// Downloads: how far each is, what to do with it, and from near its pieces and sources.
import { ask, attempt, codeButton, copyButton, empty, tool } from "./dialog.js";
import { avatar, bar, el, fill } from "./dom.js";
import { count, kind, link, percent, rate, size, some, span, tail } from "./format.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { contentUrl, get, poll, put } from "./api.js";
import { canPlay, play } from "./player.js";
import { fetchRef } from "./search.js";

/** Most that are listed: what is under way comes first. */
const LISTED = 1000;
const STATES = {
  fetching: ["accent", "Fetching"], waiting: ["warn", "Waiting for a source"], paused: ["", "Paused"], finishing: ["info", "Checking"], done: ["good", "Done"], failed: ["bad", "Failed"],
};

export function downloadsView(view) {
  const folded = new Set(); // folders whose files are not shown
  const near = new Map(); // id → what is known from near
  const list = new List({
    label: "Downloads", key: (item) => item.key, foldable: true,
    look: (item) => (item.files ? "group" : item.line.folder ? "child" : ""),
    row: (item, index, isOpen) => (item.files ? group(item, folded, redraw) : [main(item.line, isOpen, list, refresh), isOpen && details(near.get(item.line.id))]),
  });
  const nothing = el("div", { cls: "body" });
  const note = el("p", { cls: "quiet small", role: "status" });
  let lines = [];

  async function refresh() {
    const page = await attempt(() => get("downloads", { limit: LISTED }));
    if (!page) return;
    lines = page.items;
    const open = lines.filter((line) => list.open.has(`file ${line.id}`));
    await Promise.all(open.map(async (line) => near.set(line.id, await get(`downloads/${line.id}`).catch(() => undefined))));
    redraw(page.total);
  }

  function redraw(total = lines.length) {
    const unfinished = lines.filter((line) => line.state !== "done");
    note.textContent = lines.length === 0 ? "" : `${some(unfinished.length, "download")} open${total > lines.length ? ` · the first ${count(lines.length)} of ${count(total)}` : ""}`;
    nothing.classList.toggle("hidden", lines.length > 0);
    list.element.classList.toggle("hidden", lines.length === 0);
    if (lines.length === 0) fill(nothing, empty("download", "Nothing on its way", "Find something in Search, or look around at a peer’s. A download goes on by itself after an interruption, from everybody who has the file.", el("a", { cls: "button primary", href: "#search" }, icon("search"), "Search")));
    list.set(grouped(lines, folded));
  }

  const all = (action, which, said) => attempt(() => put("downloads", { action, which }), said).then(refresh);
  fill(
    view,
    el(
      "header", {},
      el(
        "div", { cls: "title" }, el("h1", {}, "Downloads"), note,
        el(
          "div", { cls: "tools" },
          tool("link", "Add a link", () => addLink().then(refresh)),
          tool("pause", "Pause all", () => all("pause", ["all"])),
          tool("play", "Resume all", () => all("resume", ["all"])),
          tool("check", "Clear finished", () => clearDone(lines).then(refresh)),
        ),
      ),
    ),
    el("div", { cls: "body flush downloads" }, list.element, nothing),
  );
  list.afterToggle = refresh;
  const stop = poll(refresh, 1000);
  return () => { stop(); list.close(); };
}

/** The files of a folder below a row of their own. */
function grouped(lines, folded) {
  const items = [];
  const groups = new Map();
  for (const line of lines) {
    const item = { key: `file ${line.id}`, line };
    if (!line.folder) {
      items.push(item);
    } else if (groups.has(line.folder)) {
      groups.get(line.folder).files.push(item);
    } else {
      const group = { key: `folder ${line.folder}`, folder: line.folder, files: [item] };
      groups.set(line.folder, group);
      items.push(group);
    }
  }
  return items.flatMap((item) => (item.files && !folded.has(item.folder) ? [item, ...item.files] : [item]));
}

function act(action, which, said) {
  return () => attempt(() => put("downloads", { action, which: [String(which)] }), said);
}

const iconButton = (drawing, label, work, look = "plain iconic") =>
  el("button", { cls: look, type: "button", title: label.split(" ")[0], "aria-label": label, onclick: work }, icon(drawing));

function progress(bytes, total, look, left, right) {
  return el("div", { cls: "progress" }, bar(total ? bytes / total : 0, look), el("div", { cls: "text num" }, el("span", {}, left), el("span", {}, right)));
}

function group(item, folded, redraw) {
  const lines = item.files.map((file) => file.line);
  const sum = (part) => lines.reduce((all, line) => all + (part(line) ?? 0), 0);
  const [bytes, total, speed] = [sum((line) => line.bytes), sum((line) => line.total), sum((line) => line.rate)];
  const done = lines.filter((line) => line.state === "done").length;
  const isPaused = lines.some((line) => line.state === "paused");
  const isDone = done === lines.length;
  const isShown = !folded.has(item.folder);
  const toggle = () => {
    if (isShown) folded.add(item.folder);
    else folded.delete(item.folder);
    redraw();
  };
  return el(
    "div", { cls: "main" },
    el("button", { cls: "kind folder plain", type: "button", "aria-expanded": String(isShown), "aria-label": `Files of ${item.folder}`, onclick: toggle }, icon("folder")),
    el("div", { cls: "names" }, el("span", { cls: "name" }, item.folder), el("span", { cls: "where" }, `${count(done)} of ${some(lines.length, "file")}${speed ? ` · ${rate(speed)}` : ""}`)),
    progress(bytes, total, isDone ? "good" : isPaused ? "still" : "", percent(bytes, total), isDone ? size(total) : `${size(bytes)} of ${size(total)}`),
    el(
      "div", { cls: "acts" },
      !isDone && isPaused && iconButton("play", `Resume ${item.folder}`, act("resume", `${item.folder}/`)),
      !isDone && !isPaused && iconButton("pause", `Pause ${item.folder}`, act("pause", `${item.folder}/`)),
      isDone ? iconButton("close", `Remove ${item.folder} from the list`, act("cancel", `${item.folder}/`)) : iconButton("trash", `Cancel ${item.folder}`, () => cancel(`${item.folder}/`, item.folder), "plain iconic danger"),
    ),
  );
}

function main(line, isOpen, list) {
  const [look, word] = STATES[line.state] ?? ["", line.state];
  const left = line.total && line.rate ? span((line.total - line.bytes) / line.rate) : "";
  const senders = line.sources.filter((source) => source.state === "sending").length;
  const where = { fetching: [some(senders, "source"), left && `${left} left`].filter(Boolean).join(" · "), failed: line.error, waiting: line.error ?? "no source is reachable now; it is tried again" }[line.state] ?? (line.state === "done" ? line.path : "");
  const isDone = line.state === "done";
  const barLook = { done: "good", paused: "still", failed: "bad", waiting: "still" }[line.state];
  return el(
    "div", { cls: "main" },
    el("span", { cls: "kind" }, icon(kind(line.name))),
    el("div", { cls: "names" }, el("span", { cls: "name", title: line.path }, line.name), el("span", { cls: "where" }, where)),
    el("div", { cls: "side wide-only" }, el("span", { cls: `pill ${look}` }, word)),
    progress(line.bytes, line.total, barLook, isDone ? size(line.bytes) : line.total ? percent(line.bytes, line.total) : "", isDone ? "" : line.state === "fetching" ? rate(line.rate) : size(line.total)),
    el(
      "div", { cls: "acts" },
      canPlay(line) && iconButton(kind(line.name) === "image" ? "open" : "play", `Play ${line.name}`, () => play(line)),
      isDone && el("a", { cls: "button plain iconic", href: contentUrl(line.id, true), download: line.name, title: "Save", "aria-label": `Save ${line.name}` }, icon("save")),
      ["fetching", "waiting", "finishing"].includes(line.state) && iconButton("pause", `Pause ${line.name}`, act("pause", line.id)),
      line.state === "paused" && iconButton("play", `Resume ${line.name}`, act("resume", line.id)),
      ["failed", "waiting"].includes(line.state) && iconButton("retry", `Retry ${line.name}`, act("retry", line.id)),
      !isDone && line.state !== "failed" && el(
        "select", { cls: "wide-only", "aria-label": `Priority of ${line.name}`, onchange: (event) => act(event.target.value, line.id)() },
        ["high", "normal", "low"].map((how) => el("option", { value: how, selected: how === line.priority }, how)),
      ),
      isDone ? iconButton("close", `Remove ${line.name} from the list`, act("cancel", line.id)) : iconButton("trash", `Cancel ${line.name}`, () => cancel(line.id, line.name), "plain iconic danger"),
      el("button", { cls: "plain iconic wide-only", type: "button", "aria-expanded": String(isOpen), title: "More", "aria-label": `More about ${line.name}`, onclick: () => { list.toggle(`file ${line.id}`); list.afterToggle?.(); } }, icon("chevron")),
    ),
  );
}

async function cancel(which, name) {
  const sure = await ask(`Cancel ${name}?`, [el("p", {}, "What was fetched so far is deleted. Finished files stay.")], "Cancel the download", "danger");
  if (sure) await act("cancel", which)();
}

async function clearDone(lines) {
  const done = lines.filter((line) => line.state === "done").map((line) => String(line.id));
  if (done.length) await attempt(() => put("downloads", { action: "cancel", which: done }), `${some(done.length, "download")} cleared; the files stay`);
}

async function addLink() {
  const input = el("input", { name: "ref", required: true, autofocus: true, placeholder: "potluck:… or a content id", spellcheck: "false" });
  const given = await ask("Fetch by link", [el("label", {}, "A link that somebody sent you", input)], "Download");
  if (given?.ref) await fetchRef(given.ref.trim(), "it");
}

function details(known) {
  if (!known) return el("div", { cls: "more quiet small" }, "…");
  const { download: line, pieces } = known;
  const source = (one) => {
    const says = { sending: ["good", "sending"], queued: ["warn", one.queue === null ? "in its queue" : `in its queue, ${count(one.queue)} ahead`], resting: ["bad", "did not answer; tried again soon"], idle: ["", "ready"] }[one.state] ?? ["", one.state];
    return el("li", {}, avatar(one.nickname || one.peer_id, true), el("span", { title: one.peer_id }, one.nickname || tail(one.peer_id)), el("span", { cls: `pill ${says[0]}` }, says[1]), el("span", { cls: "grow" }), el("span", { cls: "num faint" }, size(one.bytes)), el("span", { cls: "num" }, one.rate ? rate(one.rate) : ""));
  };
  const text = link(line.content_id, line.name, line.total ?? line.bytes);
  return el(
    "div", { cls: "more" },
    line.error && el("p", { cls: "note bad" }, line.error),
    pieces && pieceMap(pieces),
    line.sources.length > 0 && el("ul", { cls: "lines", "aria-label": "Sources" }, line.sources.map(source)),
    el("div", { cls: "copyline" }, el("code", {}, text), copyButton(text, "Copy link"), codeButton(text)),
  );
}

function pieceMap(pieces) {
  const flying = new Set(pieces.in_flight);
  const cell = (there, at) => el("i", { data: { there: there === 100 ? "all" : there > 0 ? "part" : "none", ...(flying.has(at) ? { flying: "" } : {}) } });
  const whole = pieces.verified.filter((there) => there === 100).length;
  return el(
    "figure", {},
    el("div", { cls: "pieces", role: "img", "aria-label": `${count(whole)} of ${count(pieces.verified.length)} parts are there` }, pieces.verified.map(cell)),
    el("figcaption", { cls: "legend" }, el("span", {}, el("i", { cls: "all" }), "verified"), el("span", {}, el("i", { cls: "fly" }), "on its way"), el("span", {}, `${some(pieces.pieces, "piece")} of ${size(pieces.piece_bytes)}`)),
  );
}
